#!/bin/sh
# Make .venv with every pinned package, ready to `import oneflow`. A second call finds it ready and does nothing;
# a call after an interrupted one starts that step again.
set -eu
cd "$(dirname "$0")/.."

stamp=.venv/ready
wanted=$(cat requirements.txt requirements.lock utils/runtime.py | cksum)
if [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ]; then
    exit 0
fi

case "$(uname -sm)" in
'Linux x86_64') ;;
*) echo "Error: OneFlow 0.9.0 exists for Linux x86-64 only, and this is $(uname -sm)." >&2; exit 1 ;;
esac

# A Python 3.10 that really starts and can make environments: pyenv's and uv's shims may be there and not start.
starts() {
    [ -n "$1" ] && "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 10))' >/dev/null 2>&1
}

find_python() {
    for candidate in "${PYTHON:-}" python3.10 python3 python \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.10*/bin/python \
        "$(uv python find 3.10 2>/dev/null || true)" "$HOME"/.local/share/uv/python/cpython-3.10*/bin/python3.10 \
        "${CONDA_PREFIX:-}"/bin/python "$HOME"/*conda3/bin/python "$HOME"/*conda3/envs/*/bin/python \
        "$HOME"/miniforge3/envs/*/bin/python /opt/conda/bin/python /opt/conda/envs/*/bin/python \
        /usr/bin/python3.10 /usr/local/bin/python3.10 /opt/python*/bin/python3.10; do
        if starts "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

if ! python=$(find_python); then
    echo 'Error: no Python 3.10 with venv found (OneFlow 0.9.0 has no wheel for newer ones).' \
        'Get one with: apt-get install python3.10-venv, or: uv python install 3.10,' \
        'or: pyenv install 3.10, or: conda create -n py310 python=3.10;' \
        'or name one: PYTHON=/path/to/python3.10 make setup' >&2
    exit 1
fi

echo "Setting up .venv with $("$python" --version) ($python)"
rm -f "$stamp"
# --clear also mends the environment of an interrupted set-up or of a Python that has gone.
"$python" -m venv --clear .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
.venv/bin/python -m utils.runtime
.venv/bin/python -c 'import oneflow, cv2' # better to fail here than in the middle of a training
echo "$wanted" >"$stamp"
