#!/usr/bin/env bash
# Asks a relay with curl alone, and goes on after the last event whenever the connection breaks.
#
#     ./follow.sh "Tell me a story"                  a new generation
#     ./follow.sh gen_01m8… [1.20.113]               one that is there, after an event's id
#
# Prints each event's data as a line, and what becomes of the connection to stderr; the last line
# there is how to go on. Exit status 0 once the answer is complete, 1 if it never will be. RELAY_URL,
# RELAY_TOKEN and RELAY_MODEL say where, as whom and with which model.
set -uo pipefail

relay=${RELAY_URL:-http://127.0.0.1:8000}
last_id=${2:-}
pause=1
reader=

say() { printf '[%s]\n' "$*" >&2; }

# A string as JSON; what it can't write (control characters) is left out.
json() {
  local text=$1
  text=${text//\\/\\\\}
  text=${text//\"/\\\"}
  text=${text//$'\n'/\\n}
  text=${text//$'\t'/\\t}
  printf '"%s"' "$(tr -d '\000-\037' <<<"$text")"
}

# For subshells only: it becomes curl.
call() {
  exec curl --silent --show-error --fail-with-body --no-buffer \
    ${RELAY_TOKEN:+--header "Authorization: Bearer $RELAY_TOKEN"} "$@"
}

if [[ ${1:?what to ask, or the id of a generation} =~ ^gen_[0-9a-z]+$ ]]; then
  generation=$1
else
  body="{\"kind\":\"chat\",\"input\":$(json "$1")${RELAY_MODEL:+,\"model\":$(json "$RELAY_MODEL")}}"
  # The same key makes a request that has to be repeated the same generation.
  key="follow-$$-$RANDOM$RANDOM"
  for left in 4 3 2 1 0; do
    answer=$(call --retry 5 --retry-connrefused --json "$body" \
      --header "Idempotency-Key: $key" "$relay/v1/generations") && break
    # 22 is a refusal; after anything else the answer may only have been lost.
    (($? != 22 && left)) || { say "$answer"; exit 1; }
    say "no answer came; again in $pause s"
    sleep "$pause"
  done
  [[ $answer =~ \"id\":\"(gen_[0-9a-z]+)\" ]] || { say "$answer"; exit 1; }
  generation=${BASH_REMATCH[1]}
fi

finish() {
  local status=$?
  [[ -z $reader ]] || { kill "$reader" && wait "$reader"; } 2>/dev/null
  ((status == 0)) || say "to go on: $0 $generation $last_id"
}
trap finish EXIT
# Between an event's line and its id a signal waits: the line would be printed again.
printing=0 stopped=0
trap 'stopped=1; ((printing)) || exit 130' INT TERM

# Reads one connection's events; an event counts once its blank line is there. Gives 0 and 1 as
# above, 2 if there is more to come.
read_events() {
  local line id="" event="" data=""
  while IFS= read -r line; do
    case $line in
      "retry: "*) pause=$(((${line#retry: } + 999) / 1000)) ;;
      "id: "*) id=${line#id: } ;;
      "event: "*) event=${line#event: } ;;
      "data: "*) data=${line#data: } ;;
      "")
        printing=1
        [[ -z $data ]] || printf '%s\n' "$data"
        last_id=${id:-$last_id}
        printing=0
        ((stopped)) && exit 130
        case $event in
          completed) return 0 ;;
          failed | cancelled | expired) return 1 ;;
        esac
        id="" event="" data=""
        ;;
      204) return 0 ;;
      408 | 429) say "HTTP $line" ;;
      4[0-9][0-9]) say "HTTP $line" && return 1 ;;
    esac
  done
  return 2
}

while true; do
  say "following $generation${last_id:+ after $last_id}"
  exec 3< <(call ${last_id:+--header "Last-Event-ID: $last_id"} --write-out '\n%{http_code}\n' \
    "$relay/v1/generations/$generation/events")
  reader=$!
  read_events <&3
  status=$?
  exec 3<&-
  ((status == 2)) || exit "$status"
  say "the connection ended; again in $pause s"
  sleep "$pause"
done
