"""The shells' halves of completion, as small as they can be."""

BASH = r"""# bash completion for podhost
_podhost() {
    local line directive='' word i
    local -a lines
    mapfile -t lines < <("${COMP_WORDS[0]}" completion bash --ask "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
    COMPREPLY=()
    [ "${#lines[@]}" -gt 0 ] || return 0
    directive=${lines[-1]}
    unset 'lines[-1]'
    for line in "${lines[@]}"; do
        COMPREPLY+=("${line%%$'\t'*}")
    done
    word=${COMP_WORDS[COMP_CWORD]}
    [[ $word == [=:] ]] && word=
    [[ $directive != *nospace* ]] || compopt -o nospace
    # File names are quoted, which would spoil the colon of "pod:".
    [[ ${#COMPREPLY[@]} -gt 0 || $directive == : ]] || compopt -o filenames
    case $directive in
        *files*) mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$word") ;;
        *directories*) mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -d -- "$word") ;;
    esac
}
complete -F _podhost podhost
"""

ZSH = r"""#compdef podhost
# zsh completion for podhost
_podhost() {
    local line directive value text
    local -a lines values texts
    lines=("${(@f)$(${(Q)words[1]} completion zsh --ask "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    directive=${lines[-1]}
    lines[-1]=()
    for line in $lines; do
        value=${line%%$'\t'*}
        text=${line#*$'\t'}
        values+=("$value")
        texts+=("$value${text:+  -- $text}")
    done
    local -a options=()
    [[ $directive == *nospace* ]] && options=(-S '')
    (( $#values )) && compadd $options -l -d texts -a values
    case $directive in
        *files*) _files ;;
        *directories*) _files -/ ;;
        *) (( $#values )) ;;
    esac
}
if [[ $funcstack[1] == _podhost ]]; then
    _podhost "$@"
else
    compdef _podhost podhost
fi
"""

FISH = r"""# fish completion for podhost
function __podhost_complete
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -l lines ($before[1] completion fish --ask $before[2..-1] "$current" 2>/dev/null)
    test (count $lines) -gt 0; or return
    printf '%s\n' $lines[1..-2]
    switch $lines[-1]
        case '*files*'
            __fish_complete_path "$current"
        case '*directories*'
            __fish_complete_directories "$current"
    end
end
complete -c podhost -e
complete -c podhost -f -k -a '(__podhost_complete)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
