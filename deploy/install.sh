#!/bin/sh
# Installs workd on this machine, or upgrades it: a virtual environment in /opt/workd, systemd's units, the user, the
# directories, the manual and the shells' completions. Settings that were changed are never touched. Safe to run twice.
set -eu
umask 022 # root's may be stricter, and the daemon has to read what is installed here
# cd would say where it went; pip would take what is there for what the new environment has already
unset CDPATH PYTHONPATH PYTHONHOME

usage() {
    cat <<'END'
usage: deploy/install.sh [options]               install or upgrade
       deploy/install.sh --uninstall [options]   remove all but settings, task modules and what tasks have written

  --wheel FILE         install this wheel; without it pip fetches the version of this tree from its index
  --python PYTHON      the interpreter to make the virtual environment with, 3.11 or later (python3)
  --prefix DIR         where the virtual environment is (/opt/workd)
  --system-prefix DIR  where units, manual, completions and the command go (/usr/local)
  --no-restart         leave running daemons as they are; they are restarted otherwise, each after its drain

Of pip's own settings all apply: PIP_INDEX_URL, or PIP_NO_INDEX=1 and PIP_FIND_LINKS=DIR where there is no network.
With DESTDIR in the environment everything is put below that directory, for packages and images; no user is made and
no service is touched.
END
}

say() { printf 'install.sh: %s\n' "$*"; }
die() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}
misused() {
    printf 'install.sh: %s\n' "$*" >&2
    usage >&2
    exit 2
}

tree=$(cd "$(dirname "$0")/.." && pwd)
destdir=${DESTDIR:-}
prefix=/opt/workd
system=/usr/local
python=python3
wheel=
action=install
restart=yes

value() { [ "$1" -ge 2 ] || misused "$2 needs a value"; }
while [ $# -gt 0 ]; do
    case $1 in
    --wheel) value $# "$1" && wheel=$2 && shift ;;
    --python) value $# "$1" && python=$2 && shift ;;
    --prefix) value $# "$1" && prefix=$2 && shift ;;
    --system-prefix) value $# "$1" && system=$2 && shift ;;
    --no-restart) restart=no ;;
    --uninstall) action=uninstall ;;
    -h | --help) usage && exit 0 ;;
    *) misused "there is no option $1" ;;
    esac
    shift
done

for directory in "$prefix" "$system"; do
    case $directory in
    / | *[!A-Za-z0-9_./@+-]*) misused "$directory is no place for it: letters, digits and _ . / @ + - only" ;;
    /*) ;;
    *) misused "$directory is no absolute path" ;;
    esac
done
case $destdir in
'' | /*) destdir=${destdir%/} ;;
*) misused "DESTDIR=$destdir is no absolute path" ;;
esac

home=$destdir$prefix
share=$system/share/workd
config=/etc/workd/workd.toml
requirements=/etc/workd/requirements.txt # what people's tasks import: each new environment is to have it again
# What was installed outside of the prefix, one path in a line, and what directories were made for it (these end in /):
# what an upgrade no longer has, and what to uninstall.
manifest=$home/.installed
new_manifest=
parts="bin include lib lib64 pyvenv.cfg" # of the virtual environment

is_live() { [ -z "$destdir" ]; }                     # this machine, not a tree for a package
has_systemd() { is_live && [ -d /run/systemd/system ]; } # and it has been booted with systemd

# ── files outside of the prefix ──────────────────────────────────────────────────────────────────────────────────────

# Into the old list as well: whoever is interrupted here has a whole one, to go on with or to uninstall.
note() {
    printf '%s\n' "$1" >>"$manifest"
    printf '%s\n' "$1" >>"$new_manifest"
}

# make_room PATH: make the directory of a file, and note what was not there: the machine's own are to stay.
make_room() {
    directory=$(dirname "$1")
    if [ ! -d "$destdir$directory" ]; then
        make_room "$directory"
        directory=$(dirname "$1") # the call above has its own idea of it
        note "$directory/"
        mkdir "$destdir$directory"
    fi
}

# put SOURCE PATH: copy it to PATH, through the prefix that was asked for, and note it.
put() {
    make_room "$2"
    note "$2"
    sed "s|/opt/workd|$prefix|g" "$1" >"$destdir$2.new~"
    chmod 644 "$destdir$2.new~"
    mv "$destdir$2.new~" "$destdir$2"
}

# Remove what the lines on standard input name: files, then our directories where nobody else has put anything.
drop() {
    LC_ALL=C sort -ru | while read -r path; do
        case $path in
        */) rmdir "$destdir$path" 2>/dev/null || true ;;
        *) rm -f "$destdir$path" "$destdir$path.new~" ;;
        esac
    done
}

# ── the program ──────────────────────────────────────────────────────────────────────────────────────────────────────

version_of_tree() {
    sed -n 's/^version = "\(.*\)"$/\1/p' "$tree/pyproject.toml"
}

# The new environment is made beside the old one and takes its place when it is complete: where the index is away or a
# package does not build, what runs here goes on as it was.
make_program() {
    stage=$home/.new
    rm -rf "$stage"
    mkdir -p "$home"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "workd needs Python 3.11 or later: --python names one"
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        die "$python has no venv: apt-get install python3-venv"
    "$python" -m venv "$stage"
    if [ -n "$wheel" ]; then
        what="workd[daemon] @ $(url_of "$wheel")"
    else
        what="workd[daemon]==$(version_of_tree)"
    fi
    set -- "$what"
    if [ -e "$destdir$requirements" ]; then set -- "$@" --requirement "$destdir$requirements"; fi
    say "pip install $*"
    PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1 PIP_REQUIRE_VIRTUALENV=0 PIP_USER=0 \
        "$stage/bin/python" -m pip install --quiet --no-compile "$@"
    "$stage/bin/python" -m pip uninstall --quiet --yes setuptools 2>/dev/null || true # older venvs bring it; nobody asks
    echo "$prefix/tasks" >"$(site_packages)/workd-tasks.pth"
    write_texts
    relocate
}

# A path may hold blanks and more that a URL may not.
url_of() { "$python" -c 'import pathlib, sys; print(pathlib.Path(sys.argv[1]).absolute().as_uri())' "$1"; }

site_packages() { "$stage/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }

# Scripts and byte code name the place that they were made in.
relocate() {
    pattern=$(printf '%s' "$stage" | sed 's/[][\\.*^$|]/\\&/g')
    find "$stage/bin" "$stage/pyvenv.cfg" -type f -exec grep -lF -e "$stage" {} + | while read -r script; do
        sed "s|$pattern|$prefix|g" "$script" >"$stage/relocated~"
        cat "$stage/relocated~" >"$script" # keeps the mode
    done
    rm -f "$stage/relocated~"
    # pip's lists: without the hashes of these scripts, and without the place of the wheel, which nobody has kept
    find "$stage/lib" -path '*.dist-info/direct_url.json' -exec rm {} +
    find "$stage/lib" -path '*.dist-info/RECORD' \
        -exec sed -i -e '/direct_url\.json,/d' -e 's|^\(\.\./.*/bin/[^,]*\),.*|\1,,|' {} +
    find "$stage" -name __pycache__ -type d -prune -exec rm -rf {} +
    if [ -n "${SOURCE_DATE_EPOCH:-}" ]; then # byte code holds the time of its source: a package is to be reproducible
        find "$stage/lib" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    fi
    "$stage/bin/python" -m compileall -q -j 0 --invalidation-mode timestamp -s "$stage" -p "$prefix" \
        "$stage/lib" >"$stage/compile.log" || say "not all of the libraries' files compile, which they need not"
    rm -f "$stage/compile.log"
}

# What the program itself knows best: the settings file with every setting in it, the completions.
write_texts() {
    texts=$stage/texts
    mkdir "$texts"
    "$stage/bin/python" -m workd config --template >"$texts/workd.toml"
    for shell in bash zsh fish; do
        "$stage/bin/python" -m workd completion "$shell" >"$texts/$shell" 2>/dev/null || rm -f "$texts/$shell"
    done
}

# Quick, and not to be interrupted by a terminal that goes away: daemons import from there, or are restarted.
swap_program() {
    mkdir -p "$home/tasks" "$stage/old"
    trap '' HUP INT TERM
    for part in $parts; do
        if is_there "$home/$part"; then mv "$home/$part" "$stage/old/$part"; fi
        if is_there "$stage/$part"; then mv "$stage/$part" "$home/$part"; fi
    done
    trap - HUP INT TERM
}

is_there() { [ -e "$1" ] || [ -L "$1" ]; }

# A prefix is replaced as a whole. In /usr/local, where other programs have theirs, that would be the end of these.
refuse_others_place() {
    [ ! -e "$manifest" ] || return 0
    for part in $parts; do
        if is_there "$home/$part"; then
            die "$home/$part is not ours, and would be removed: --prefix has to name a directory of workd's own"
        fi
    done
}

# ── everything else ──────────────────────────────────────────────────────────────────────────────────────────────────

put_units() {
    for unit in "$tree"/systemd/*.service "$tree"/systemd/*.socket "$tree"/systemd/*.target; do
        put "$unit" "$system/lib/systemd/system/$(basename "$unit")"
    done
    put "$tree/systemd/workd.sysusers" "$system/lib/sysusers.d/workd.conf"
    put "$tree/systemd/workd.tmpfiles" "$system/lib/tmpfiles.d/workd.conf"
    put "$tree/systemd/notify-reload.conf" "$share/notify-reload.conf"
    if is_live && [ "$(systemd_version)" -ge 253 ]; then
        for unit in workd.service workd@.service; do
            put "$tree/systemd/notify-reload.conf" "$system/lib/systemd/system/$unit.d/notify-reload.conf"
        done
    fi
}

systemd_version() {
    number=$(systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
    echo "${number:-0}"
}

put_texts() {
    for page in "$tree"/deploy/man/*.[1-8]; do
        [ -e "$page" ] || continue # a wheel's tests run without them
        put "$page" "$system/share/man/man${page##*.}/$(basename "$page")"
    done
    [ ! -e "$texts/bash" ] || put "$texts/bash" "$system/share/bash-completion/completions/workd"
    [ ! -e "$texts/zsh" ] || put "$texts/zsh" "$system/share/zsh/site-functions/_workd"
    [ ! -e "$texts/fish" ] || put "$texts/fish" "$system/share/fish/vendor_completions.d/workd.fish"
}

put_command() {
    link=$system/bin/workd
    if [ -e "$destdir$link" ] && [ ! -L "$destdir$link" ]; then
        say "$link is not ours and stays as it is; the command is $prefix/bin/workd"
        return
    fi
    make_room "$link"
    note "$link"
    ln -sf "$prefix/bin/workd" "$destdir$link"
}

# The settings file is replaced only while it is the one that we have put there, to the letter.
put_config() {
    pristine=$destdir$share/workd.toml
    if [ ! -e "$destdir$config" ] || cmp -s "$destdir$config" "$pristine"; then
        mkdir -p "$destdir$(dirname "$config")"
        cp "$texts/workd.toml" "$destdir$config"
    elif ! cmp -s "$texts/workd.toml" "$pristine"; then
        say "$config was changed and stays; $share/workd.toml shows all settings of this version"
    fi
    put "$texts/workd.toml" "$share/workd.toml"
}

# Remove what the version before has put somewhere and this one has not.
drop_obsolete() {
    if [ -e "$manifest" ]; then
        { grep '/$' "$manifest" || true; } >>"$new_manifest"
        { grep -vxF -f "$new_manifest" "$manifest" || true; } | drop
    fi
    LC_ALL=C sort -u "$new_manifest" >"$stage/manifest~"
    mv "$stage/manifest~" "$manifest"
}

activate() {
    is_live || return 0
    if command -v systemd-sysusers >/dev/null; then
        systemd-sysusers "$system/lib/sysusers.d/workd.conf"
    elif ! getent passwd workd >/dev/null; then
        useradd --system --user-group --home-dir /var/lib/workd --no-create-home --shell /usr/sbin/nologin workd
    fi
    if command -v systemd-tmpfiles >/dev/null; then
        systemd-tmpfiles --create "$system/lib/tmpfiles.d/workd.conf"
    else
        install -d -o workd -g workd -m 750 /var/lib/workd
    fi
    has_systemd || return 0
    systemctl daemon-reload
    systemctl --quiet enable workd.target
    if [ "$restart" = yes ]; then
        systemctl try-restart workd.service 'workd@*.service'
    fi
}

install_all() {
    if is_live; then
        [ "$(id -u)" -eq 0 ] || die "only root can: sudo $0, or DESTDIR=… for a tree of files"
        if dpkg-query --search "$prefix/bin/workd" >/dev/null 2>&1; then
            die "$prefix is the Debian package's: upgrade that, or apt-get remove workd (settings and tasks stay)"
        fi
    fi
    [ -z "$wheel" ] || [ -f "$wheel" ] || die "there is no wheel $wheel"
    refuse_others_place
    make_program
    new_manifest=$stage/manifest
    : >"$new_manifest"
    put_units
    put_texts
    put_command
    put_config
    drop_obsolete
    swap_program
    rm -rf "$stage"
    activate
    say "workd is in $prefix. Next: modules = [...] in $config, then systemctl enable --now workd"
}

# ── uninstall ────────────────────────────────────────────────────────────────────────────────────────────────────────

stop_all() {
    has_systemd || return 0
    systemctl list-units --all --plain --no-legend 'workd.*' 'workd-health.*' 'workd@*' 'workd-health@*' |
        while read -r unit _; do
            systemctl --quiet disable --now "$unit" || say "$unit did not stop as it should"
        done
    systemctl --quiet disable workd.target workd.service workd-health.socket 2>/dev/null || true
}

uninstall_all() {
    is_live && [ "$(id -u)" -ne 0 ] && die "only root can: sudo $0 --uninstall"
    [ -e "$manifest" ] || [ -e "$home/.new" ] || die "$home holds nothing that this script has installed"
    stop_all
    if [ -e "$manifest" ]; then
        drop <"$manifest"
        for part in $parts; do rm -rf "${home:?}/$part"; done
    fi
    for part in .new .installed tasks/__pycache__; do rm -rf "${home:?}/$part"; done
    rmdir "$home/tasks" "$home" 2>/dev/null || true
    is_live || (cd "$destdir" && rmdir -p ".$(dirname "$prefix")" 2>/dev/null) || true
    if has_systemd; then systemctl daemon-reload; fi
    say "workd is gone. Left: settings in /etc/workd, what tasks have written in /var/lib/workd, $prefix/tasks if it is" \
        "not empty, and the user workd, so that no later one inherits its files"
}

"${action}_all"
