#!/usr/bin/env bash
# The round for a machine with a GPU: what parkd's CUDA code does there, and how fast, beside what was expected of
# it. Cheapest truth first, each step under its own time limit; a step that has been done is not done again, so a
# round may take several calls. One report, as Markdown.
#   gpu-kit/gpu_check.sh [OPTIONS]      from the archive that tools/gpu_pack.sh makes: needs a driver, bash and the
#                                       usual small tools; neither nvcc nor a network
#   tools/gpu_check.sh [OPTIONS]        from the sources: packs the kit for this machine's GPU first (nvcc)
#   --state DIRECTORY   what is done, with all output (default: gpu-check, beside where it is called)
#   --report FILE       default: report.md in the state directory
#   --budget SECONDS    begin no step whose limit does not fit any more; call again for the rest
#   --only STEP,...     these alone; done ones again
#   --list              the steps with their limits
# PARKD_TEST_MODEL: SmolLM2-135M-Instruct.Q4_1.gguf, for the golden prompts (default: where the quickstart has put
# it); without it that step is skipped.
# PARKD_KIT_LIMIT_S: the limit of every step, in place of its own.
# PARKD_KIT_MODELS: where models with random weights are made (default: the state directory; 15 GB).
# Exit status: 0 all done and passed, 1 something failed, 2 not all done: call again, 77 there is no GPU.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)

state= report= budget=0 only= run=
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
say() { printf '== %s\n' "$*" >&2; }
list=
while [ $# -gt 0 ]; do
  case $1 in
    --state | --report | --budget | --only)
      [ $# -ge 2 ] || die "$1 needs a value"
      printf -v "${1#--}" %s "$2"
      shift 2
      ;;
    --run-step)  # what this script calls itself with
      run=$2
      shift 2
      ;;
    --list) list=1 && shift ;;
    *) die "$1: unknown; see the first lines of $0" ;;
  esac
done
[[ "$budget" =~ ^[0-9]+$ ]] || die "--budget $budget: seconds"

# --- the steps: NAME LIMIT_S TITLE, in their order; each is a function step_NAME. It prints; lines "figure..." and
# "fact..." (tests/gpu/probe/figures.h) go to the report's tables. "skipped: WHY" as its last line and status 77:
# it cannot be done here.
steps="
machine 60 The machine, and whether the programs start
probe 240 Copies, launches, products of cuBLAS
kernels_rows 300 Kernels that work row by row, against float64
kernels_attention 600 Attention, against float64
kernels_sampling 300 Sampling and log-probabilities, against the CPU's bits
kernels_ptx 120 Inline PTX
ops 600 A model's ops through the backend, against float64
backend 600 Lanes, graphs, scheduling: the CPU's tokens
timing 240 Attention and sampling, timed
golden 600 Golden prompts of SmolLM2-135M
daemon 300 parkd on the device: self-check, answers
two_devices 300 parkd on two devices
model 300 A model of Mistral-7B's shape is written
speed_1 600 Engine, 1 lane
speed_1_plain 600 Engine, 1 lane, attention of prompts without tensor cores
speed_2 600 Engine, 2 lanes
speed_2_plain 600 Engine, 2 lanes, attention of prompts without tensor cores
profile 300 Where the time goes (Nsight Compute)
memcheck 600 compute-sanitizer memcheck
racecheck 600 compute-sanitizer racecheck
synccheck 600 compute-sanitizer synccheck
initcheck 600 compute-sanitizer initcheck
"
step_names() { awk 'NF {print $1}' <<<"$steps"; }
limit_of() { awk -v name="$1" -v all="${PARKD_KIT_LIMIT_S:-}" '$1 == name {print all ? all : $2}' <<<"$steps"; }
title_of() { awk -v name="$1" '$1 == name {$1 = $2 = ""; sub("^ *", ""); print}' <<<"$steps"; }
if [ -n "$list" ]; then
  awk 'NF {printf "%-20s %4s s  ", $1, $2; $1 = $2 = ""; sub("^ *", ""); print}' <<<"$steps"
  exit 0
fi
for name in ${only//,/ }; do
  step_names | grep -qx "$name" || die "--only $name: no such step; --list names them"
done

# --- the kit
state=$(realpath -m "${state:-gpu-check}")
report=$(realpath -m "${report:-$state/report.md}")
if [ -e "$here/kit.txt" ]; then
  kit=$here
else
  kit=$state/kit
  if [ -z "$run" ]; then
    capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -1 | tr -d .)
    if [ -z "$capability" ]; then
      say "SKIPPED: no GPU on this machine (nvidia-smi lists none)"
      exit 77
    fi
    "$here/gpu_pack.sh" --arch "$capability" --dir "$kit" || die "the kit cannot be packed"
  fi
fi
mkdir -p "$state" || die "$state cannot be made"
kit_says() { sed -n "s/^$1=//p" "$kit/kit.txt"; }
tiny=
[ "$(kit_says kind)" = emulator ] && tiny=1
export LD_LIBRARY_PATH=$kit/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export PARKD_GOLDEN_DIR=$kit/golden
models=${PARKD_KIT_MODELS:-$state}
demo_model=${PARKD_MODEL_DIR:-${PARKD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/parkd}/models}/SmolLM2-135M-Instruct.Q4_1.gguf
if [ -z "${PARKD_TEST_MODEL:-}" ] && [ -e "$demo_model" ]; then export PARKD_TEST_MODEL=$demo_model; fi
work=$state/work  # what a step leaves while it runs
like=mistral-7b
[ -n "$tiny" ] && like=mini

skip() { echo "skipped: $*"; return 77; }

# --- steps
step_machine() {
  local needed found
  cat "$kit/kit.txt"
  uname -srm
  if command -v nvidia-smi >/dev/null; then nvidia-smi; else echo "nvidia-smi is not there"; fi
  needed=$(kit_says glibc)
  found=$(ldd --version 2>/dev/null | sed -n '1s/.* //p')
  echo "glibc $found, the kit needs $needed"
  if [ "$(printf '%s\n' "$needed" "$found" | sort -V | tail -1)" != "$found" ]; then
    echo "this machine's glibc is too old for the kit: pack it on an older system"
    return 1
  fi
  "$kit/bin/gpu_probe" facts
}

step_probe() { "$kit/bin/gpu_probe" ${tiny:+--tiny} copies launches products; }
step_timing() { "$kit/bin/gpu_probe" ${tiny:+--tiny} attention sampling; }

# run_tests PROGRAM [FILTER for the rehearsal]
run_tests() {
  local log status
  log=$work/tests.log
  "$kit/bin/$1" ${tiny:+--gtest_filter="${2:-*}"} >"$log" 2>&1
  status=$?
  # Failures whole, else the end.
  grep -n -A40 'Failure$' "$log" | head -400
  tail -40 "$log"
  if [ $status = 77 ] || grep -q 'SKIPPED: no CUDA device' "$log"; then
    echo "the test saw no device, and gpu_probe did"
    return 1
  fi
  if [ $status = 0 ] && ! grep -q '^\[  PASSED  \] [1-9]' "$log"; then
    echo "no test ran"
    return 1
  fi
  return $status
}
step_kernels_rows() { run_tests cuda_rows_test '*Gather*:*FeedTokens*'; }
step_kernels_attention() { run_tests cuda_attention_test '*splits_fill*:*leaves_rows_that_are_not_its_own*'; }
step_kernels_sampling() { run_tests cuda_sampling_test '*minus_one*'; }
step_kernels_ptx() { run_tests cuda_ptx_test; }
step_ops() { run_tests cuda_ops_test '*equal_float64/bf16'; }
step_backend() { run_tests cuda_backend_test '*gives_the_tokens_of_the_cpu_on_the_float_path/whole'; }

step_golden() {
  [ -x "$kit/bin/golden_gpu_test" ] || { skip "the emulator would take an hour"; return; }
  [ -n "${PARKD_TEST_MODEL:-}" ] || { skip "no PARKD_TEST_MODEL"; return; }
  PARKD_CI_STRICT=1 run_tests golden_gpu_test
}

make_model() {  # LIKE
  local file=$models/$1.gguf needed room
  [ -e "$file" ] && return 0
  needed=$("$kit/bin/parkd_make_random_model" --bytes --like "$1" "$file") || return 1
  room=$(df -P -B1 "$models" | awk 'NR == 2 {print $4}')
  if [ "$room" -lt $((needed + 1000000000)) ]; then
    skip "$models has room for $room bytes, the model needs $needed: name another place in PARKD_KIT_MODELS"
    return 77
  fi
  "$kit/bin/parkd_make_random_model" --like "$1" "$file.part" && mv "$file.part" "$file" && ls -l "$file"
}

# daemon_answers IDS MODEL: parkd with device: cuda on these devices answers the quickstart's prompts.
daemon_answers() (
  set -e
  rm -rf "$work/daemon" && mkdir -p "$work/daemon"
  daemon=
  socket=$(mktemp -d)  # its path may have 107 bytes
  trap '[ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true; rm -rf "$socket"' EXIT
  export PARKD_SOCKET=$socket/parkd.sock
  cat >"$work/daemon/parkd.yaml" <<YAML
daemon:
  state_dir: $work/daemon
  socket: $PARKD_SOCKET
parking_lot:
  queue:
    backend: rocksdb
models:
  - name: kit
    local_path: $2
    params:
      device: cuda
      device_ids: [$1]
YAML
  if [ -n "$tiny" ]; then
    printf '      %s\n' 'kvcache_mem_gpu: 8' 'max_num_seqs: 4' >>"$work/daemon/parkd.yaml"
    sed -i 's/^daemon:/&\n  step_tokens: 64/' "$work/daemon/parkd.yaml"
  fi
  sent=$(grep -c . "$kit/prompts.jsonl")
  [ -n "$tiny" ] && sent=2
  "$kit/bin/parkd" --config "$work/daemon/parkd.yaml" &
  daemon=$!
  until "$kit/bin/jobctl" pool >/dev/null 2>&1; do
    kill -0 "$daemon"  # it has ended: so does this
    sleep 0.1
  done
  # Its model by another name.
  head -n "$sent" "$kit/prompts.jsonl" | sed 's/"model": *"[^"]*"/"model": "kit"/' >"$work/daemon/prompts.jsonl"
  "$kit/bin/jobctl" batch run "$work/daemon/prompts.jsonl" -o "$work/daemon/answers.jsonl"
  head -c 2000 "$work/daemon/answers.jsonl"
  echo
  [ "$(grep -c '"status_code": *200' "$work/daemon/answers.jsonl")" = "$sent" ]
  "$kit/bin/jobctl" models | tee "$work/daemon/models.txt"
  if grep -qi degraded "$work/daemon/models.txt"; then
    echo "the device is on a lower rung of the self-check's ladder"
    return 1
  fi
  kill "$daemon"
  wait "$daemon"
)
step_daemon() {
  local model=${PARKD_TEST_MODEL:-}
  if [ -z "$model" ] || [ -n "$tiny" ]; then
    model=$models/mini.gguf
    make_model mini || return
  fi
  daemon_answers 0 "$model"
}
step_two_devices() {
  local n
  n=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU')
  [ "$n" -gt 1 ] || { skip "there is one GPU here; two have worked on the emulator alone"; return; }
  make_model mini && daemon_answers 0,1 "$models/mini.gguf"
}

step_model() { make_model "$like"; }

# speed LANES [--plain-attention]: output tokens a second of 1 to 256 jobs side by side.
speed() {
  local lanes=$1 device sizes=1,16,64,256 prompt=128 output=128 line n seen
  [ -e "$models/$like.gguf" ] || { skip "the step model has left no model"; return; }
  [ -n "$tiny" ] && sizes=1,3 prompt=8 output=4
  device=$("$kit/bin/gpu_probe" facts | sed -n 's/^fact\tdevice\t//p')
  "$kit/bin/parkd_bench" engine --json --runs 1 --device cuda --model "$models/$like.gguf" --threads "$lanes" \
    --sequences ${sizes//,/ } --prompt-tokens "$prompt" --output-tokens "$output" --step-tokens 2048 ${2:-} \
    >"$work/speed.json" || return
  cat "$work/speed.json"
  grep -q '^{' "$work/speed.json" || return 1
  while read -r line; do
    [[ "$line" = "{"* ]] || continue
    n=$(sed -n 's/.*"benchmark":"engine.batch_\([0-9]*\)".*/\1/p' <<<"$line")
    seen=$(sed -n 's/.*"output_tokens_per_s":\([0-9.e+]*\).*/\1/p' <<<"$line")
    [ -n "$n" ] && [ -n "$seen" ] || return 1
    printf 'figure\tengine.%s_sequences.%s_lanes%s\t%s\t%s\ttokens/s\n' "$n" "$lanes" "${2:+.plain}" "$seen" \
      "$("$kit/bin/gpu_probe" expect --device "$device" --like "$like" --sequences "$n" --lanes "$lanes" \
        --prompt-tokens "$prompt" --output-tokens "$output")"
    seen=$(sed -n 's/.*"prompt_tokens_per_s":\([0-9.e+]*\).*/\1/p' <<<"$line")
    printf 'figure\tengine.%s_sequences.%s_lanes%s.prompts\t%s\t-\ttokens/s\n' "$n" "$lanes" \
      "${2:+.plain}" "$seen"
  done <"$work/speed.json"
}
step_speed_1() { speed 1; }
step_speed_1_plain() { speed 1 --plain-attention; }
step_speed_2() { speed 2; }
step_speed_2_plain() { speed 2 --plain-attention; }

step_profile() {
  command -v ncu >/dev/null || { skip "Nsight Compute (ncu) is not there"; return; }
  ncu --set basic --launch-skip 20 --launch-count 60 "$kit/bin/gpu_probe" attention sampling
}

sanitizer() {  # TOOL PROGRAM [ARGUMENTS]
  command -v compute-sanitizer >/dev/null || { skip "compute-sanitizer is not there"; return; }
  compute-sanitizer --tool "$1" --error-exitcode 1 "$kit/bin/$2" "${@:3}"
}
# The kernels' own programs, and of the backend one way through lanes and graphs: the rest would take hours.
# cuBLAS's own kernels are in that one, so it is not asked about races and unwritten memory.
sanitize() {  # TOOL
  local program
  command -v compute-sanitizer >/dev/null || { skip "compute-sanitizer is not there"; return; }
  for program in cuda_rows_test cuda_sampling_test cuda_attention_test; do
    sanitizer "$1" "$program" || return 1
  done
  case $1 in
    memcheck | synccheck)
      sanitizer "$1" cuda_backend_test --gtest_filter='*gives_the_tokens_of_the_cpu_on_the_float_path/whole'
      ;;
  esac
}
step_memcheck() { sanitize memcheck; }
step_racecheck() { sanitize racecheck; }
step_synccheck() { sanitize synccheck; }
step_initcheck() { sanitize initcheck; }

# --- the report, from what the steps have left
result_of() { cat "$state/$1.result" 2>/dev/null || echo "not run"; }
table_of_figures() {
  local name logs=()
  for name in $(step_names); do [ -e "$state/$name.log" ] && logs+=("$state/$name.log"); done
  [ ${#logs[@]} -gt 0 ] || return
  awk -F'\t' '
    $1 == "figure" {
      ratio = $4 != "-" && $4 > 0 ? sprintf("%.2f", $3 / $4) : "-"
      printf "| %s | %s | %s | %s | %s |\n", $2, $3, $4, $5, ratio
    }' "${logs[@]}"
}
write_report() {
  local name
  {
    echo "# parkd on a GPU"
    echo
    echo "Kit: commit $(kit_says commit), compute capability $(kit_says arch), $(kit_says kind). $(date -u +%Y-%m-%dT%H:%MZ)"
    [ -n "$tiny" ] && printf '\n**A rehearsal on the emulator: no figure says anything of a GPU.**\n'
    echo
    sed -n 's/^fact\t\(.*\)\t\(.*\)$/- \1: \2/p' "$state/machine.log" 2>/dev/null
    printf '\n| step | result |\n| --- | --- |\n'
    for name in $(step_names); do echo "| $(title_of "$name") (\`$name\`) | $(result_of "$name") |"; done
    printf '\n## Seen and expected\n\n'
    echo "Expected of copies, products, attention and sampling is the roof that the data sheet sets, of which good"
    echo "kernels reach 60 to 90 %; of launches and the engine it is tools/simulate's model, which assumes such shares."
    printf '\n| figure | seen | expected | unit | seen / expected |\n| --- | ---: | ---: | --- | ---: |\n'
    table_of_figures
    for name in $(step_names); do
      [ -e "$state/$name.log" ] || continue
      printf '\n## %s\n\n%s\n\n```\n' "$(title_of "$name")" "$(result_of "$name")"
      grep -v '^figure' "$state/$name.log" | tail -120
      printf '```\n'
    done
  } >"$report.part" && mv "$report.part" "$report"
}

# --- the round
# run_step NAME: its result into the state directory; a step that was cut off with this script has none, and is
# done again. It runs as a process of its own, whose whole group ends with its limit.
run_step() {
  local name=$1 log=$state/$1.log limit started status took result
  limit=$(limit_of "$name")
  rm -rf "$work" "$state/$name.result"
  mkdir -p "$work"
  say "$name: $(title_of "$name") (at most $limit s)"
  started=$(date +%s)
  timeout --kill-after=10 "$limit" "$0" --state "$state" --run-step "$name" >"$log" 2>&1
  status=$?
  took=$(($(date +%s) - started))
  case $status in
    0) result="passed, $took s" ;;
    77) result=$(tail -1 "$log") ;;
    124 | 137) result="**FAILED**: not done after $limit s" ;;
    *) result="**FAILED** (exit status $status), $took s" ;;
  esac
  echo "$result" >"$state/$name.result.part" && mv "$state/$name.result.part" "$state/$name.result"
  rm -rf "$work"
  say "$name: $result"
  write_report
}

if [ -n "$run" ]; then
  "step_$run"
  exit $?
fi

# One round at a time in a state directory.
exec 8>"$state/lock"
flock -n 8 || die "another round is at work in $state"
begun=$(date +%s)
left=
for name in $(step_names); do
  if [ -n "$only" ]; then
    [[ ",$only," = *",$name,"* ]] || continue
  elif [ -e "$state/$name.result" ]; then
    continue
  fi
  if [ "$budget" -gt 0 ] && [ $(($(date +%s) - begun + $(limit_of "$name"))) -gt "$budget" ]; then
    left="$left $name"
    continue
  fi
  run_step "$name" 8>&-
  if [ "$name" = machine ] && ! grep -q '^passed' "$state/machine.result"; then
    rm "$state/machine.result"  # the next call looks again
    tail -5 "$state/machine.log" >&2
    grep -q 'SKIPPED: no CUDA device' "$state/machine.log" && exit 77
    exit 1
  fi
done
write_report
say "the report: $report"
[ -z "$left" ] || say "no time for:$left; call again"
if grep -ls FAILED "$state"/*.result >/dev/null; then exit 1; fi
[ -z "$left" ] || exit 2
exit 0
