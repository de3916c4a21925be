# shellcheck shell=bash
# Counting: every check, test and scenario adds a line to its part's results, and the last line of scripts/test sums them.
# shellcheck source-path=SCRIPTDIR
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

RESULTS=$KIT_CACHE/test

# result PART PASSED FAILED [SKIPPED]
result() { printf '%d %d %d\n' "$2" "$3" "${4:-0}" >>"$RESULTS/$1.results"; }

# result_sum PART…: prints "PASSED FAILED SKIPPED". A part that executed nothing counts as a failure.
result_sum() {
  local part
  for part in "$@"; do
    awk '{ p += $1; f += $2; s += $3 } END { if (p + f == 0) f = 1; printf "%d %d %d\n", p, f, s }' \
      "$RESULTS/$part.results" 2>/dev/null || echo '0 1 0'
  done | awk '{ p += $1; f += $2; s += $3 } END { printf "%d %d %d\n", p, f, s }'
}

# run_part NAME COMMAND…: with a clean slate, and the time it took.
run_part() {
  local part=$1 started=$SECONDS sum
  shift
  say "$part: begins"
  mkdir -p "$RESULTS/$part"
  find "$RESULTS/$part" -mindepth 1 -delete
  : >"$RESULTS/$part.results"
  "$@"
  sum=$(result_sum "$part")
  read -r passed failed skipped <<<"$sum"
  say "$part: $passed passed, $failed failed, $skipped skipped, $((SECONDS - started)) s"
}

# run_check PART NAME COMMAND…: one check with its log; the end of the log is shown when it fails.
run_check() {
  local part=$1 name=$2 log started=$SECONDS
  shift 2
  log=$RESULTS/$part/${name//[^A-Za-z0-9._-]/-}.log
  if "$@" >"$log" 2>&1; then
    result "$part" 1 0
    say "$part: ok      $name, $((SECONDS - started)) s"
  else
    result "$part" 0 1
    say "$part: FAILED  $name, $((SECONDS - started)) s; the end of $log:"
    tail -n 60 "$log" >&2
  fi
}

# result_junit PART REPORT STATUS: counts what pytest reported; a status that the counts don't explain is a failure too.
result_junit() {
  local part=$1 report=$2 status=$3 counts passed failed skipped
  counts=$(
    python - "$report" <<'END' || echo '0 0 0'
import sys
import xml.etree.ElementTree as tree

suites = tree.parse(sys.argv[1]).getroot().iter("testsuite")
totals = [sum(values) for values in zip(*(
    [int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")] for suite in suites
))]
print(totals[0] - sum(totals[1:]), totals[1] + totals[2], totals[3])
END
  )
  read -r passed failed skipped <<<"$counts"
  ((status == 0 || failed > 0)) || failed=1
  result "$part" "$passed" "$failed" "$skipped"
}
