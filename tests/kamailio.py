"""Debian's Kamailio with this project's configuration (deploy/kamailio), on a port of its own."""

import asyncio
import os
import signal
import subprocess
from pathlib import Path
from typing import Self

from playbook import HOST, eventually, free_ports

PROGRAM = "/usr/sbin/kamailio"
TREE = Path(__file__).parents[1]
DEPLOYED = TREE / "deploy" / "kamailio"
OPTIONS = (
    "OPTIONS sip:{host}:{port} SIP/2.0\r\nVia: SIP/2.0/UDP {host}:{own};branch=z9hG4bKup\r\n"
    "Max-Forwards: 70\r\nFrom: <sip:up@test.cn>;tag=1\r\nTo: <sip:{host}>\r\nCall-ID: up\r\n"
    "CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)


class Kamailio:
    """`async with Kamailio(folder, run_dir, hop) as front:` takes calls at `front.port`.

    `hop`: the carrier's port; `deadline`: milliseconds until a call is refused that nobody judged.
    """

    def __init__(
        self,
        folder: Path,
        run_dir: Path,
        hop: int,
        *,
        deadline: int = 10_000,
        processes: int = 4,
        script: Path = DEPLOYED / "zhengming.py",
        path: Path = DEPLOYED / "kamailio.cfg",
        package: Path = TREE,
    ) -> None:
        (self.port,) = free_ports(1)
        self._folder = folder
        self.log = folder / "kamailio.log"
        self._package = package
        defined = {
            "LISTEN_AT": f"{HOST}:{self.port}",
            "NEXT_HOP": f'"{HOST}:{hop}"',
            "RUN_DIR": f'"{run_dir}"',
            "DEADLINE": f'"{deadline}"',
            "PROCESSES": str(processes),
            "SCRIPT": f'"{script}"',
        }
        values = [word for name, value in defined.items() for word in ("-A", f"{name}={value}")]
        place = ["-w", str(folder), "-Y", str(folder), "-P", str(folder / "pid")]
        self._command = [
            *(PROGRAM, "-f", str(path), "-DD", "-E", "-m", "64", "-x", "fm", "-X", "fm"),
            *place,
            *values,
        ]
        self.process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        # as its service has it: by PATH, and where it is started, its Python finds packages, too
        environment = {"PYTHONPATH": str(self._package), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                env=environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def __aenter__(self) -> Self:
        self.launch()
        try:
            await self._up()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        process, self.process = self.process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.to_thread(process.wait, 10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    async def _up(self) -> None:
        """It answers for itself."""
        loop = asyncio.get_running_loop()
        got = asyncio.Event()

        class Up(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: object) -> None:
                got.set()

        transport, _ = await loop.create_datagram_endpoint(Up, (HOST, 0))
        asked = OPTIONS.format(
            host=HOST, port=self.port, own=transport.get_extra_info("sockname")[1]
        ).encode()

        def answers() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text("utf-8", "replace")
            transport.sendto(asked, (HOST, self.port))
            return got.is_set()

        try:
            await eventually(answers, seconds=30)
        finally:
            transport.close()
