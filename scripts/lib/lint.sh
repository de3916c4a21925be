# shellcheck shell=bash
# The checks that read the code without running it. Each counts as one.
# shellcheck source-path=SCRIPTDIR
source "$(dirname -- "${BASH_SOURCE[0]}")/results.sh"

lint_all() {
  local playbook package kind names
  run_check lint ruff-check ruff check --no-fix .
  run_check lint ruff-format ruff format --check .
  # Through the collection's path, so that a module has one name for mypy, however it is imported.
  for package in module_utils/_pki module_utils/_gateway module_utils/_acme module_utils/_container plugin_utils/_fleet plugin_utils/_nginx plugin_utils/_secrets plugin_utils/_variables; do
    run_check lint "mypy-${package##*/}" mypy --no-color-output "collections/ansible_collections/mtls/kit/plugins/$package"
  done
  # shellcheck disable=SC2046  # names of tracked scripts hold no blanks
  run_check lint shellcheck shellcheck --external-sources $(lint_shell_scripts)
  run_check lint yamllint yamllint --strict .
  run_check lint ansible-lint ansible-lint --nocolor --offline
  for playbook in playbooks/*.yml; do
    run_check lint "syntax-$(basename "$playbook" .yml)" ansible-playbook --inventory inventory/example --syntax-check "$playbook"
  done
  for kind in module lookup filter callback; do
    mapfile -t names < <(lint_plugins "$kind")
    ((${#names[@]})) || continue
    run_check lint "ansible-doc-$kind" lint_documentation "$kind" "${names[@]}"
  done
}

lint_shell_scripts() { grep --recursive --files-with-matches --max-count=1 --extended-regexp '^(#!.*\bbash|# shellcheck shell=bash)' .ci scripts; }

# The names of the kit's plugins of one kind. An action is documented by the module of its name.
lint_plugins() {
  local folder=plugins/$1
  [[ $1 != module ]] || folder=plugins/modules
  find "$folder" -maxdepth 1 \( -name '*.py' -o -name '*.yml' \) ! -name '_*' -printf '%f\n' 2>/dev/null |
    sed 's/\..*//; s/^/mtls.kit./' | sort -u
}

# ansible-doc answers 0 even where it could not read a page; it says so, though.
lint_documentation() {
  local kind=$1 pages=$RESULTS/lint/pages-$1.txt page
  shift
  ansible-doc --type "$kind" "$@" >"$pages" 2>&1 || { tail -n 20 "$pages" && return 1; }
  ! grep -E '^\[(ERROR|WARNING)\]' "$pages" || return 1
  for page in "$@"; do
    grep -qiF "$page" "$pages" || { printf '%s has no documentation that ansible-doc can show\n' "$page" && return 1; }
  done
}
