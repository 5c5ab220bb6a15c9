"""The words of `zhengming profile`."""

from pathlib import Path

from gateway.arguments import text, whole
from gateway.commands.casework_arguments import Act


def add_profile_arguments(act: Act) -> None:
    listed = act(
        "list", "what is shipped and versions, oldest first; what holds, what waits and what is planned"
    )
    show = act("show", "a version and its rules; without a name what holds now")
    show.add_argument("name", nargs="?", default="")
    show.add_argument("--digest", default="", help="which version; default: the newest, or what is shipped")
    show.add_argument("--text", action="store_true", help="the text as it was handed in, and no more")
    new = act("add", "store a version; it holds only when two persons have activated it")
    new.add_argument("name")
    new.add_argument("file", type=Path, help="TOML; may extend a shipped profile or a stored one")
    new.add_argument("--note", default="", help="what is new in it")
    new.add_argument("--dry-run", action="store_true", help="check it, say what it changes, store nothing")
    activate = act(
        "activate", "the first of two persons has a version hold; the same from another one confirms it"
    )
    activate.add_argument("name")
    activate.add_argument(
        "--digest", default="", help="which version; default: the newest, or what is shipped"
    )
    activate.add_argument(
        "--from", dest="since", default="", metavar="TIME", help="ISO 8601; default: once it is confirmed"
    )
    activate.add_argument(
        "--institution", default="", metavar="CODE", help="for this one alone, and only to make it stricter"
    )
    activate.add_argument("--number", default="", help="the same for one registered number")
    activate.add_argument("--reason", required=True, type=text(1000))
    confirm = act("confirm", "another person agrees to what waits")
    confirm.add_argument("name")
    confirm.add_argument(
        "--activation", type=whole(1), default=0, metavar="ID", help="which; default: the one that waits"
    )
    for doing in (new, activate, confirm):
        doing.add_argument("--by", required=True, metavar="LOGIN", help="the regulator who does this")
    for doing in (listed, show, new, activate, confirm):
        doing.add_argument("--json", action="store_true")
