# The last step before a command: its process number is noted, its folder and environment set, its file found.
# No arguments: a login shell.

echo $$ >"$here/pid"
cd "$dir" 2>/dev/null || cd /
variables=$environ
unset environ dir here OLDPWD SHLVL
[ -z "$variables" ] || eval "export $variables"

if [ $# = 0 ]; then
    for shell in /bin/bash /bin/sh; do
        [ -x "$shell" ] || continue
        export SHELL=$shell
        exec -a "-${shell##*/}" "$shell"
    done
fi
case $1 in
*/*) file=$1 ;;
*)
    file=
    IFS=:
    for folder in $PATH; do
        if [ -f "${folder:-.}/$1" ] && [ -x "${folder:-.}/$1" ]; then
            file=${folder:-.}/$1
            break
        fi
    done
    unset IFS
    ;;
esac
if [ -z "$file" ] || [ ! -e "$file" ]; then
    echo "popek: $1: not found" >&2
    exit 127
fi
if [ -d "$file" ] || [ ! -x "$file" ]; then
    echo "popek: $1: cannot be executed" >&2
    exit 126
fi
name=$1
shift
exec -a "$name" "$file" "$@"
echo "popek: $name: cannot be executed" >&2
exit 126
