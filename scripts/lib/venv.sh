# shellcheck shell=bash
# The checkout's own Python environment, .venv, made from the pinned requirement files.
# shellcheck source-path=SCRIPTDIR
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

VENV=$KIT_ROOT/.venv

# ensure_venv [FILE]: .venv holds exactly the versions FILE (default requirements.txt) and the files it includes pin, and
# its programs come first on PATH. What is already so is left alone. MTLS_KIT_PYTHON names another interpreter.
ensure_venv() {
  local file=${1:-requirements.txt} python
  unset PYTHONHOME PYTHONPATH
  mkdir -p "$KIT_CACHE"
  # Two scripts started at once must not install into the same folder.
  exec 9>"$KIT_CACHE/venv.lock"
  flock 9
  if [[ $(__venv_stamp "$file") != "$(__venv_wanted "$file")" ]]; then
    if ! "$VENV/bin/python" -c '' 2>/dev/null || [[ $(cat "$VENV/.kit/root" 2>/dev/null) != "$KIT_ROOT" ]]; then
      python=$(__venv_python) || exit 1
      __venv_create "$python"
    fi
    __venv_install "$file"
  fi
  exec 9>&-
  export PATH=$VENV/bin:$PATH
}

# The files that FILE is made of: itself and those it includes.
__venv_files() {
  printf '%s\n' "$1"
  sed -n 's/^-r  *//p' "$KIT_ROOT/$1"
}

__venv_wanted() {
  local name
  while read -r name; do cat "$KIT_ROOT/$name"; done < <(__venv_files "$1") | checksum
}

__venv_stamp() { cat "$VENV/.kit/$1" 2>/dev/null || true; }

# The machine's own interpreter, never the one of a .venv that is about to be replaced.
__venv_python() {
  local candidate PATH=:$PATH:
  PATH=${PATH//":$VENV/bin:"/:}
  PATH=${PATH#:} PATH=${PATH%:}
  for candidate in ${MTLS_KIT_PYTHON:-python3 python3.13 python3.12 python3.11}; do
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
    "$candidate" -c 'import sys; print(sys.executable)'
    return
  done
  die "Python 3.11 or newer is needed, and ${MTLS_KIT_PYTHON:-python3} is $(python3 --version 2>&1 || true)." \
    "Next: install one (Debian 12 or newer: apt-get install python3), or name it: MTLS_KIT_PYTHON=/path/to/python3.12"
}

__venv_create() {
  local python=$1
  say "Making .venv with $("$python" --version)"
  rm -rf -- "$VENV"
  if have uv && uv venv --quiet --python "$python" "$VENV"; then
    :
  else
    # Debian ships venv apart from Python.
    "$python" -c 'import ensurepip' 2>/dev/null || apt_install python3-venv
    "$python" -m venv "$VENV"
  fi
  mkdir -p "$VENV/.kit"
  printf '%s\n' "$KIT_ROOT" >"$VENV/.kit/root"
}

__venv_install() {
  local file=$1 name
  say "Installing the Python packages of $file"
  if have uv && uv pip install --quiet --python "$VENV/bin/python" --requirement "$KIT_ROOT/$file"; then
    :
  else
    "$VENV/bin/python" -m pip --version >/dev/null 2>&1 || "$VENV/bin/python" -m ensurepip --upgrade >/dev/null
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$KIT_ROOT/$file" ||
      die "The Python packages of $file could not be installed; pip said why above. Next: check that PyPI can be reached."
  fi
  while read -r name; do __venv_wanted "$name" >"$VENV/.kit/$name"; done < <(__venv_files "$file")
}
