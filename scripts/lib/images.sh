# shellcheck shell=bash
# The images the boxes run: mtls-kit-target:<release>, from molecule/images/Dockerfile.
# shellcheck source-path=SCRIPTDIR
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

IMAGE_LABEL=mtls-kit.recipe

# ensure_images RELEASE…: each is built when its recipe changed, side by side.
# Where a registry can be reached, MTLS_KIT_BASE_IMAGE names its Debian, with %s for the release: debian:%s
ensure_images() {
  local release pid failed=0 wanted pids=()
  for release in "$@"; do
    wanted=$(__image_recipe "$release")
    [[ $(__image_label "$release") == "$wanted" ]] && continue
    say "Building the image mtls-kit-target:$release (log $KIT_CACHE/image-$release.log)"
    mkdir -p "$KIT_CACHE"
    (set -euo pipefail && __image_build "$release" "$wanted") >"$KIT_CACHE/image-$release.log" 2>&1 </dev/null &
    pids+=($!)
  done
  for pid in ${pids[@]+"${pids[@]}"}; do wait "$pid" || failed=1; done
  ((failed == 0)) || die "An image could not be built: $(tail -n 3 "$KIT_CACHE"/image-*.log). Next: read the logs in $KIT_CACHE."
}

__image_recipe() {
  printf '%s %s\n' "$1" "${MTLS_KIT_BASE_IMAGE:-mmdebstrap}" | cat - "$KIT_ROOT/molecule/images/Dockerfile" | checksum
}

__image_label() {
  docker image inspect --format "{{index .Config.Labels \"$IMAGE_LABEL\"}}" "mtls-kit-target:$1" 2>/dev/null || true
}

# bootstrap_image RELEASE NAME: a small Debian from its packages, without a registry.
bootstrap_image() {
  local archive=$KIT_CACHE/base-$1.tar
  # A bootstrap that fails must not become an empty image: the import sees a whole archive or nothing.
  rm -f -- "$archive"
  mmdebstrap --variant=apt --include=ca-certificates "$1" "$archive"
  docker import "$archive" "$2"
  rm -f -- "$archive"
}

__image_build() {
  local release=$1 recipe=$2 base
  if [[ -n ${MTLS_KIT_BASE_IMAGE:-} ]]; then
    base=${MTLS_KIT_BASE_IMAGE//%s/$release}
  else
    base=mtls-kit-base:$release
    bootstrap_image "$release" "$base"
  fi
  docker build --build-arg "BASE=$base" --label "$IMAGE_LABEL=$recipe" --tag "mtls-kit-target:$release" \
    "$KIT_ROOT/molecule/images"
}
