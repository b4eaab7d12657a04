#!/bin/sh
# Builds dist/workd_VERSION_ARCHITECTURE.deb from a wheel: what deploy/install.sh installs, at the same places but for
# /usr instead of /usr/local, as a package. It is for the Debian, and the Python, that it is built on.
# Called by make deb. Needs dpkg-deb and Debian's python3 with python3-venv.
set -eu
umask 022

die() {
    printf 'build.sh: %s\n' "$*" >&2
    exit 1
}

{ [ $# -eq 1 ] && [ -f "$1" ]; } || die "usage: deploy/debian/build.sh dist/workd-VERSION-py3-none-any.whl"
wheel=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
here=$(cd "$(dirname "$0")" && pwd)
tree=$(cd "$here/../.." && pwd)
python=${DEB_PYTHON:-/usr/bin/python3}
revision=${DEB_REVISION:-1}
maintainer="${DEBFULLNAME:-whoever built it} <${DEBEMAIL:-builder@$(uname -n)}>"
[ -x "$python" ] || die "there is no $python: apt-get install python3 python3-venv"

build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
root=$build/root

# The same input makes the same package: all times in it are the one of the last commit.
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git -C "$tree" log -1 --format=%ct 2>/dev/null || stat -c %Y "$wheel")
fi
export SOURCE_DATE_EPOCH

version=$(basename "$wheel" | cut -d- -f2)-$revision
architecture=$(dpkg --print-architecture)
python_version=$("$python" -c 'import sys; print("{}.{}".format(*sys.version_info))')
next_python=$("$python" -c 'import sys; print("{}.{}".format(sys.version_info[0], sys.version_info[1] + 1))')

DESTDIR=$root "$tree/deploy/install.sh" --wheel "$wheel" --python "$python" --system-prefix /usr

# ── Debian's own ways ────────────────────────────────────────────────────────────────────────────────────────────────

rm "$root/opt/workd/.installed" # dpkg has its own list
rm -r "${root:?}/etc" # postinst makes the settings: as a conffile they would be asked about at every version with a new one
mv "$root/usr/share/zsh/site-functions" "$root/usr/share/zsh/vendor-completions" 2>/dev/null || true
find "$root/usr/share/man" -type f -exec gzip -9n {} + 2>/dev/null || true
doc=$root/usr/share/doc/workd
mkdir -p "$doc" "$root/usr/share/lintian/overrides"
cp "$here/copyright" "$doc/"
cp "$here/lintian-overrides" "$root/usr/share/lintian/overrides/workd"
gzip -9n <"$tree/CHANGELOG.md" >"$doc/changelog.gz"
date=$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")
gzip -9n >"$doc/changelog.Debian.gz" <<END
workd ($version) unstable; urgency=medium

  * What is new is in changelog.gz.

 -- $maintainer  $date
END

# ── DEBIAN/ ──────────────────────────────────────────────────────────────────────────────────────────────────────────

libc=$(find "$root/opt" -name '*.so*' -type f -exec grep -aoh 'GLIBC_2\.[0-9.]*' {} + | sort -uV | tail -n 1)
mkdir "$root/DEBIAN"
sed -e "s/@version@/$version/" -e "s/@architecture@/$architecture/" -e "s/@python@/$python_version/" \
    -e "s/@next_python@/$next_python/" -e "s/@libc@/${libc#GLIBC_}/" -e "s/@maintainer@/$maintainer/" \
    -e "s/@installed_size@/$(du -sk --apparent-size "$root" | cut -f1)/" "$here/control.in" >"$root/DEBIAN/control"
install -m 755 "$here/preinst" "$here/postinst" "$here/prerm" "$here/postrm" "$root/DEBIAN/"
(cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' md5sum) >"$build/md5sums"
install -m 644 "$build/md5sums" "$root/DEBIAN/md5sums"

find "$root" -newermt "@$SOURCE_DATE_EPOCH" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
package=$(dirname "$wheel")/workd_${version}_$architecture.deb
dpkg-deb --root-owner-group -Zxz --build "$root" "$package" >/dev/null
echo "$package"
