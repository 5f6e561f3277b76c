"""Postfix, Exim and OpenSMTPD that send on, give up within seconds, and tell the sender so."""

import os
import shutil
import smtplib
import subprocess
import tempfile
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

from tests.support.processes.ports import free_port
from tests.support.servers.server import Program

HOST = "mail.example.org"
#: To whom the relay passes mail on for an address of its own.
ALIAS, BEHIND = "alias@example.org", "unknown@example.net"
TEAM, MEMBERS = "team@example.org", "ada@example.net, bob@example.net"
#: Where nothing listens: a server that cannot be reached for days.
DOWN = "down.example.net"
#: Days, in a test.
WARN_SECONDS, GIVE_UP_SECONDS = 4, 14

POSTFIX_MAIN = """
myhostname = mail.example.org
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
relayhost = [127.0.0.1]:{target}
transport_maps = inline:{{ {down}=smtp:[127.0.0.1]:{closed} }}
virtual_alias_maps = inline:{{ {{ {alias} = {behind} }}, {{ {team} = {members} }} }}
smtpd_peername_lookup = no
smtp_host_lookup = native
smtpd_discard_ehlo_keywords =
message_size_limit = 0
delay_warning_time = {warn}s
maximal_queue_lifetime = {give_up}s
minimal_backoff_time = 2s
maximal_backoff_time = 3s
queue_run_delay = 2s
"""
POSTFIX_MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
smtp unix - - n - - smtp
relay unix - - n - - smtp
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""
EXIM = """
exim_user = nobody
exim_group = nogroup
never_users =
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
primary_hostname = mail.example.org
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
pid_file_path = {folder}/exim.pid
tls_advertise_hosts =
host_lookup =
rfc1413_query_timeout = 0s
acl_smtp_rcpt = accept
acl_smtp_data = accept
dsn_advertise_hosts = *
smtputf8_advertise_hosts = *
delay_warning = {warn}s
delay_warning_condition = yes
begin acl
begin routers
aliases:
  driver = redirect
  condition = ${{if eq {{$local_part@$domain}}{{{alias}}}}}
  data = {behind}
team:
  driver = redirect
  condition = ${{if eq {{$local_part@$domain}}{{{team}}}}}
  data = {members}
down:
  driver = manualroute
  domains = {down}
  transport = smtp
  route_list = * 127.0.0.1::{closed}
  self = send
all:
  driver = manualroute
  transport = smtp
  route_list = * 127.0.0.1::{target}
  self = send
begin transports
smtp:
  driver = smtp
  hosts_try_fastopen =
begin retry
* * F,{give_up}s,2s
"""
OPENSMTPD = """
queue ttl {give_up}s
bounce warn-interval {warn}s
listen on 127.0.0.1 port {port} hostname mail.example.org
table aliases {{ "alias" = "{behind}", "team" = "{members}" }}
action "out" relay host smtp://127.0.0.1:{target} helo mail.example.org
action "down" relay host smtp://127.0.0.1:{closed} helo mail.example.org
action "aliased" expand-only alias <aliases>
match from any for domain "example.org" rcpt-to {{ "{alias}", "{team}" }} action "aliased"
match from any for domain "{down}" action "down"
match from any for any action "out"
"""


class Relay(Program):
    """A mail server that passes what it gets on to the one that listens on ``target``."""

    name: ClassVar[str]

    def __init__(self, target: int) -> None:
        """Make its folder."""
        super().__init__()
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self.folder.chmod(0o755)
        self._given = {
            "port": self.port,
            "target": target,
            "closed": free_port(),
            "alias": ALIAS,
            "behind": BEHIND,
            "team": TEAM,
            "members": MEMBERS,
            "down": DOWN,
            "warn": WARN_SECONDS,
            "give_up": GIVE_UP_SECONDS,
        }
        self.configure()

    @abstractmethod
    def configure(self) -> None:
        """Write its configuration."""

    def filled(self, text: str, folder: Path | None = None) -> str:
        """Fill in what differs between runs."""
        return text.format(folder=folder or self.folder, **self._given)

    def is_ready(self) -> bool:
        """Whether it greets."""
        try:
            with smtplib.SMTP("127.0.0.1", self.port, timeout=1):
                return True
        except OSError:
            return False

    def close(self) -> None:
        """End it, and remove its folder."""
        super().close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Postfix(Relay):
    """Debian's package postfix."""

    name = "postfix"

    def configure(self) -> None:
        """Write main.cf and master.cf, and let it make its queue."""
        for name in ("etc", "queue", "data"):
            (self.folder / name).mkdir()
        shutil.chown(self.folder / "data", "postfix")
        etc = self.folder / "etc"
        (etc / "main.cf").write_text(self.filled(POSTFIX_MAIN))
        (etc / "master.cf").write_text(self.filled(POSTFIX_MASTER))
        subprocess.run(["postfix", "-c", str(etc), "check"], check=True, capture_output=True)

    def command(self) -> list[str]:
        """Say how it is started."""
        return ["/usr/lib/postfix/sbin/master", "-c", str(self.folder / "etc"), "-d", "-s"]


class Exim(Relay):
    """Debian's package exim4-daemon-light."""

    name = "exim"

    def configure(self) -> None:
        """Write its one file."""
        for name in ("spool", "log"):
            (self.folder / name).mkdir()
            shutil.chown(self.folder / name, "nobody", "nogroup")
        (self.folder / "exim.conf").write_text(self.filled(EXIM))

    def command(self) -> list[str]:
        """Say how it is started: a run of the queue each second."""
        return ["/usr/sbin/exim4", "-C", str(self.folder / "exim.conf"), "-bdf", "-q1s"]


class OpenSmtpd(Relay):
    """Debian's package opensmtpd, unpacked into a folder that is its whole file system.

    It conflicts with Postfix, so it is not installed; and its users and folders are compiled in.
    """

    name = "opensmtpd"
    _USERS = "root:x:0:0::/root:/bin/sh\nopensmtpd:x:901:901::/var/lib/opensmtpd/empty:/bin/false\n"
    _QUEUE = "opensmtpq:x:902:902::/var/lib/opensmtpd/empty:/bin/false\n"
    _GROUPS = "root:x:0:\nopensmtpd:x:901:\nopensmtpq:x:902:\n"

    def configure(self) -> None:
        """Fetch and unpack it, with the libraries that it is linked with."""
        get = ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", "opensmtpd"]
        subprocess.run(get, check=True, cwd=self.folder)
        package = next(self.folder.glob("opensmtpd_*.deb"))
        subprocess.run(["dpkg-deb", "--extract", str(package), str(self.folder)], check=True)
        for program in ("usr/sbin/smtpd",):
            self._with_libraries(self.folder / program)
        for name in ("etc", "var/lib/opensmtpd/empty", "var/spool/smtpd", "var/run", "dev", "tmp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "var/spool/smtpd").chmod(0o711)
        for name in ("null", "urandom"):
            minor = {"null": 3, "urandom": 9}[name]
            os.mknod(self.folder / "dev" / name, 0o20666, os.makedev(1, minor))
        (self.folder / "etc/passwd").write_text(self._USERS + self._QUEUE)
        (self.folder / "etc/group").write_text(self._GROUPS)
        (self.folder / "etc/hosts").write_text("127.0.0.1 localhost\n")
        (self.folder / "etc/nsswitch.conf").write_text("passwd: files\nhosts: files\n")
        (self.folder / "etc/smtpd.conf").write_text(self.filled(OPENSMTPD))

    def _with_libraries(self, program: Path) -> None:
        listed = subprocess.run(["ldd", str(program)], check=True, capture_output=True, text=True)
        found = {word for word in listed.stdout.split() if word.startswith("/")}
        for library in (*found, "/lib/x86_64-linux-gnu/libnss_files.so.2"):
            place = self.folder / library.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            if Path(library).exists() and not place.exists():
                shutil.copy(library, place)

    def command(self) -> list[str]:
        """Say how it is started: in the foreground, in its own file system."""
        return ["chroot", str(self.folder), "/usr/sbin/smtpd", "-d", "-f", "/etc/smtpd.conf"]


RELAYS: tuple[type[Relay], ...] = (Postfix, Exim, OpenSmtpd)
