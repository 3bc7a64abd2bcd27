# Puts a program of Debian or Ubuntu into a folder without root: FOLDER/bin/PROGRAM, FOLDER/lib.
# Sourced by scripts/fetch_*, which set and define before:
#
#   program        its name, which is also its package's
#   places         where the system may have it beside PATH
#   runs FILE LIB  true if FILE starts with the libraries in LIB
#
# Then `fetch FOLDER`. Quick when FOLDER already holds one that runs, or when the system has one.
# With SYSTEM=1 it installs the distribution's package (needs root). On failure it says why in one
# line and exits 3.

# A cap on the rounds through the dependency tree; Debian 12 needs one, none should need more.
readonly max_rounds=5

fail() {
    echo "fetch_$program: $1" >&2
    exit 3
}

# True if dpkg has package $1 installed.
installed() {
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) == installed* ]]
}

# The apt commands that follow keep all their state in our own folder, so they need no root.
# The sandbox user could not write there when we are root.
apt_options=(-qq -o APT::Sandbox::User=root -o Acquire::Retries=2)
use_own_apt_lists() {
    mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
    apt_options+=(
        -o "Dir::State=$work/apt" -o "Dir::State::lists=$work/apt/lists"
        -o "Dir::Cache=$work/apt/cache" -o Debug::NoLocking=true -o Acquire::Languages=none
    )
    # One broken third-party source must not matter: whether the package is known is asked next.
    apt-get "${apt_options[@]}" update >"$work/apt.log" 2>&1 || true
}

known() { apt-cache "${apt_options[@]}" show "$program" >/dev/null 2>&1; }

# Downloads and unpacks the packages named.
unpack() {
    (cd "$work/debs" && apt-get "${apt_options[@]}" download "$@" >>"$work/apt.log" 2>&1) ||
        return 1
    local deb
    for deb in "$work"/debs/*.deb; do
        dpkg -x "$deb" "$work/root"
        rm "$deb"
    done
}

# The shared libraries that the program still lacks.
missing_libraries() {
    LD_LIBRARY_PATH=$work/out/lib ldd "$work/out/bin/$program" | awk '/not found/ { print $1 }'
}

# The library packages that the packages named need and that the system lacks. Of alternatives
# (a leading bar) the first; virtual packages are written <like this> and skipped.
lacking_dependencies() {
    apt-cache "${apt_options[@]}" depends --no-recommends --no-suggests --no-conflicts \
        --no-breaks --no-replaces --no-enhances "$@" |
        awk '/Depends:/ { if (!alternative && $2 ~ /^lib/) print $2; alternative = /\|/ }' |
        sort -u | while read -r name; do installed "$name" || echo "$name"; done
}

# Leaves only what the program needs, in bin and lib.
gather() {
    find "$work/root" -path "*bin/$program" -exec cp {} "$work/out/bin/" \;
    find "$work/root" -name '*.so*' \( -type f -o -type l \) -exec cp -P {} "$work/out/lib/" \;
}

# Exits 0 if nothing has to be done.
leave_what_is_there() {
    if [[ ${SYSTEM:-} != 1 ]] && runs "$target/bin/$program" "$target/lib"; then
        echo "$program is already in $target"
        exit 0
    fi
    local found
    for found in "$(command -v "$program" || true)" "${places[@]}"; do
        if runs "$found" "${LD_LIBRARY_PATH:-}"; then
            echo "$program is already at $found"
            exit 0
        fi
    done
}

install_in_system() {
    known || apt-get -qq update || true
    apt-get install -y --no-install-recommends "$program" ||
        fail "apt-get could not install it: it needs root and a reachable package archive"
}

# Fills $work/out.
download() {
    # The system's lists may be empty, or name a version that the archive no longer has.
    if ! known || ! unpack "$program"; then
        use_own_apt_lists
        known || fail "apt does not know $program: is the package archive reachable?"
        unpack "$program" || fail "cannot download it: $(tail -n 1 "$work/apt.log")"
    fi
    gather
    local wanted=("$program") round
    for ((round = 0; round < max_rounds; round++)); do
        [[ -n $(missing_libraries) ]] || break
        mapfile -t wanted < <(lacking_dependencies "${wanted[@]}")
        [[ ${#wanted[@]} -gt 0 ]] || break
        unpack "${wanted[@]}" || fail "cannot download ${wanted[*]}: $(tail -n 1 "$work/apt.log")"
        gather
    done
    runs "$work/out/bin/$program" "$work/out/lib" ||
        fail "it does not run here; still missing: $(missing_libraries | tr '\n' ' ')"
}

fetch() {
    target=$1
    case $target in /*) ;; *) target=$PWD/$target ;; esac
    leave_what_is_there
    local tool
    for tool in apt-get apt-cache dpkg dpkg-query ldd; do
        command -v "$tool" >/dev/null || fail "no $tool here: install $program by other means"
    done
    if [[ ${SYSTEM:-} == 1 ]]; then
        install_in_system
        return
    fi
    mkdir -p "$(dirname "$target")" 2>/dev/null || fail "cannot write to $(dirname "$target")"
    # Beside the target, so that the last step is a rename.
    work=$(mktemp -d "$target.XXXXXX" 2>/dev/null) || fail "cannot write to $(dirname "$target")"
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work"/{debs,root,out/bin,out/lib}
    download
    rm -rf "$target"
    mv "$work/out" "$target"
    echo "$program is in $target"
}
