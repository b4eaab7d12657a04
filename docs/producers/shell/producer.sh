#!/usr/bin/env bash
# Sends a job to workd and prints its outcome, with nothing but redis-cli and jq. docs/protocol.md is all it knows.
#
#   REDIS_URL=redis://127.0.0.1:6379/0 ./producer.sh key|stream TASK [ARGS [ID]]
#   ./producer.sh key square '[4]'
#
# `key` asks for the result again and again, `stream` is told. ARGS is a JSON array. With an ID of its own a job may be
# sent again after an error: it is run once.
# Exit code: 0 the task returned, 1 the job ended otherwise, 2 it is not known (the reason is on standard error).
set -euo pipefail

how=$1 task=$2 args=${3:-[]} id=${4:-}
queue='workd:{default}' # the braces are part of the keys
patience_s=30

trouble() { printf '%s: %s\n' "$task" "$*" >&2; exit 2; }

# -e: an error of the server is a failure of the command, too.
redis() { redis-cli -e -u "${REDIS_URL:-redis://127.0.0.1:6379/0}" "$@"; }

# ── the message ── ARGS goes in as it is: jq would round integers beyond 2^53. Task names need no escapes.
printf '%s' "$args" | jq -e 'type == "array"' >/dev/null || trouble "ARGS is no JSON array: $args"
message=$(printf '{"task":"%s","args":%s,"result_ttl":3600' "$task" "$args")
if [ -n "$id" ]; then message+=",\"id\":$(jq -n --arg id "$id" '$id')"; fi

# ── a stream for the reply, made before the job is sent, gone a minute after the last PEXPIRE ──
last=0
if [ "$how" = stream ]; then
    reply="shell.$$.$RANDOM"
    last=$(redis XADD "$queue:reply:$reply" '*' w '') || trouble "no reply stream: $last"
    redis PEXPIRE "$queue:reply:$reply" 60000 >/dev/null
    message+=",\"reply_to\":\"$reply\""
fi
message+='}'

# ── send ── -x: the last argument comes from standard input, so it may hold any byte and be of any length.
entry=$(printf '%s' "$message" | redis -x XADD "$queue:stream" '*' m) || trouble "not sent: $entry"
id=${id:-$entry} # a job without a name of its own is called by its entry

# ── wait ──
by_key() { redis GET "$queue:result:$id"; }

by_stream() { # one entry: key, entry id, field, value, a line each (an outcome has no line breaks)
    local lines
    mapfile -t lines < <(redis XREAD BLOCK 1000 COUNT 1 STREAMS "$queue:reply:$reply" "$last")
    [ "${#lines[@]}" -ge 4 ] || return 0
    last=${lines[1]}
    # The stream may have outcomes of other jobs and entries without one.
    if [ "${lines[2]}" = m ] && [ "$(jq -r .id <<<"${lines[3]}")" = "$id" ]; then printf '%s\n' "${lines[3]}"; fi
}

while [ "$SECONDS" -lt "$patience_s" ]; do
    outcome=$("by_$how") || trouble "no answer: $outcome"
    if [ -n "$outcome" ]; then
        printf '%s\n' "$outcome"
        [ "$(jq -r .status <<<"$outcome")" = succeeded ] && exit 0
        exit 1
    fi
    if [ "$how" = key ]; then sleep 0.1; fi
done
trouble "no outcome of $id within $patience_s s; it may still run"
