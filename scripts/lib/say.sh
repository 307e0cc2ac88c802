# Talking to people: sourced by the other scripts. Colour only on a terminal that wants it.

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else
  bold='' dim='' green='' red='' plain=''
fi

note() { printf '%s\n' "${dim}$*${plain}"; }

die() {
  printf '%s\n' "${red}error:${plain} $*" >&2
  exit 1
}

now_ms() {
  if [ -n "${EPOCHREALTIME:-}" ]; then
    local now=${EPOCHREALTIME/[.,]/}
    printf '%s' "${now%???}"
  else
    python3 -c 'import time; print(int(time.time() * 1000), end="")'
  fi
}
