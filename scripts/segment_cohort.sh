#!/usr/bin/env bash
# Segment every QuPath project given, one after the other, and go on after failures.
#
#   scripts/segment_cohort.sh PROJECT.qpproj... [-- OPTIONS OF qpbridge segment...]
#   scripts/segment_cohort.sh cohort/*/project.qpproj -- --device cuda --within "Immune cells"
#
# On a SLURM cluster, one project per array task (a list of projects, a line each, in projects.txt):
#
#   #!/usr/bin/env bash
#   #SBATCH --job-name=qpbridge
#   #SBATCH --array=1-120%8          # as many as projects.txt has lines; 8 at a time
#   #SBATCH --cpus-per-task=4
#   #SBATCH --mem=8G
#   #SBATCH --gres=gpu:1             # leave out where there is no GPU
#   #SBATCH --time=04:00:00
#   #SBATCH --output=qpbridge-%A_%a.log
#   scripts/segment_cohort.sh "$(sed -n "${SLURM_ARRAY_TASK_ID}p" projects.txt)"
#
# Exit code: 0 if all went well, 3 if some images failed, 1 if a whole project did. A project can be
# run again at any time: qpbridge replaces its own objects only.
set -uo pipefail

usage() { sed -n '2,5p' "$0" | cut -c 3- >&2; exit 2; }

projects=()
while [ $# -gt 0 ] && [ "$1" != "--" ]; do
    case "$1" in -*) usage ;; esac
    projects+=("$1")
    shift
done
[ ${#projects[@]} -gt 0 ] || usage
[ $# -eq 0 ] || shift # the rest are options

worst=0
failed=()
for project in "${projects[@]}"; do
    echo "== $project" >&2
    qpbridge segment "$project" "$@"
    code=$?
    case "$code" in
        0) ;;
        130|143) exit "$code" ;; # interrupted: don't start the next one
        *)
            failed+=("$project (exit code $code)")
            if [ "$code" -ne 3 ] || [ "$worst" -eq 0 ]; then worst=$code; fi
            ;;
    esac
done

if [ ${#failed[@]} -gt 0 ]; then
    printf '%d of %d projects had failures:\n' "${#failed[@]}" "${#projects[@]}" >&2
    printf '  %s\n' "${failed[@]}" >&2
fi
exit "$worst"
