"""A command at a terminal: a real pseudo-terminal of a size, and the screen that somebody would see (`pyte`)."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
import time

import pyte


class Terminal:
    """`python -m pastcli WORDS` with a terminal on stderr and, unless `stdout` is given, on stdout; to be used as a context."""

    def __init__(self, *words, columns=80, lines=24, stdout=None, **environment):
        self.screen = pyte.Screen(columns, lines)
        self.raw = b""
        self._stream = pyte.ByteStream(self.screen)
        self._lock = threading.Lock()
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        inherited = {
            name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "FORCE_COLOR")
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pastcli", *map(str, words)],
            stdin=theirs,
            stdout=stdout or theirs,
            stderr=theirs,
            env={**inherited, "TERM": "xterm-256color", **environment},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),  # so that ^C is a signal
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self._reader.join(30)
        os.close(self._ours)

    def _read(self):
        while True:
            try:
                data = os.read(self._ours, 65536)
            except OSError:  # the other end is closed
                return
            if not data:
                return
            with self._lock:
                self.raw += data
                self._stream.feed(data)

    @property
    def shown(self):
        """The lines of the screen, without blanks behind them."""
        with self._lock:
            return [line.rstrip() for line in self.screen.display]

    @property
    def text(self):
        return "\n".join(self.shown).strip()

    @property
    def cursor_hidden(self):
        with self._lock:
            return self.screen.cursor.hidden

    def until(self, seen, seconds=60):
        """Wait until `seen(text)` holds, and give the lines; fails if it never does."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if seen(self.text):
                return self.shown
            if self.process.poll() is not None and not self._reader.is_alive():
                break
            time.sleep(0.02)
        assert seen(self.text), self.text
        return self.shown

    def press(self, keys):
        os.write(self._ours, keys)

    def wait(self, seconds=60):
        """The exit code, when everything that was written is on the screen."""
        code = self.process.wait(seconds)
        self._reader.join(30)
        return code
