#!/usr/bin/env python3
"""An external process for splashdam: an interceptor, a source or a sink, whichever the agent asks for.

Python 3 and its standard library are all it needs. docs/external.md draws every byte of the protocol;
the first half of this file speaks it and can be taken over as it is, the second half is the example:

  interceptor  adds the header `seen` (`set.mark` names another), drops events whose body begins with
               `set.drop`
  source       brings `set.count` lines, or those of the file `set.file`
  sink         appends each body as a line to the file `set.file`, refuses for good what begins with `set.refuse`
"""

import os
import struct
import sys

VERSION = 1
HELLO, READY, BATCH, ANSWER, STOP = 1, 2, 3, 4, 5
DONE, AGAIN = 0, 1
WHOLE, UNCHANGED, HEADERS, ADDED = 0, 1, 2, 3

# ---- The protocol -------------------------------------------------------------------------------

# Messages go through standard output. What is printed by mistake goes to standard error, and so to
# the agent's log, instead.
_input = os.fdopen(os.dup(0), "rb", buffering=1 << 20)
_output = os.fdopen(os.dup(1), "wb", buffering=1 << 20)
os.dup2(2, 1)

_u32 = struct.Struct(">I")
_read_u32 = _u32.unpack_from


def text(value):
    """A text, or a body, behind its length."""
    data = value.encode() if isinstance(value, str) else value
    return _u32.pack(len(data)) + data


def pairs(headers):
    """Headers as they are written."""
    return _u32.pack(len(headers)) + b"".join(text(k) + text(v) for k, v in headers.items())


def event(headers, body):
    """An event as it is written."""
    return pairs(headers) + text(body)


def send(kind, *parts):
    """Sends a message at once."""
    _output.write(struct.pack(">IB", 1 + sum(map(len, parts)), kind))
    _output.writelines(parts)
    _output.flush()


def answer(batch, outcome, *parts):
    send(ANSWER, struct.pack(">QB", batch, outcome), *parts)


def receive():
    """The next message, as its kind and its payload. None when the agent is gone."""
    head = _input.read(5)
    if len(head) < 5:
        return None, b""
    length, kind = struct.unpack(">IB", head)
    payload = _input.read(length - 1)
    return (kind, payload) if len(payload) == length - 1 else (None, b"")


def read_text(data, at):
    (length,) = _read_u32(data, at)
    end = at + 4 + length
    return data[at + 4 : end], end


def read_pairs(data, at):
    (count,) = _read_u32(data, at)
    at += 4
    headers = {}
    for _ in range(count):
        name, at = read_text(data, at)
        value, at = read_text(data, at)
        headers[name.decode()] = value.decode()
    return headers, at


def read_batch(payload):
    """A batch's number and its events, each as headers and body."""
    batch, count = struct.unpack_from(">QI", payload)
    at, events = 12, []
    for _ in range(count):
        headers, at = read_pairs(payload, at)
        body, at = read_text(payload, at)
        events.append((headers, body))
    return batch, events


class Hello:
    """What the agent says first."""

    def __init__(self, payload):
        (self.version,) = struct.unpack_from(">H", payload)
        self.role, at = read_text(payload, 2)
        self.agent, at = read_text(payload, at)
        self.component, at = read_text(payload, at)
        self.most_message_bytes, self.batch_events = struct.unpack_from(">II", payload, at)
        self.settings, _ = read_pairs(payload, at + 8)


# ---- The example --------------------------------------------------------------------------------


def intercept(hello):
    mark = pairs({hello.settings.get("mark", "seen"): "python"})
    drop = hello.settings.get("drop", "").encode()
    added = struct.Struct(">BI").pack
    while True:
        kind, payload = receive()
        if kind != BATCH:
            return
        batch, events = read_batch(payload)
        # What goes on: here each event as it came, with one more header.
        kept = [
            added(ADDED, place) + mark
            for place, (_headers, body) in enumerate(events)
            if not (drop and body.startswith(drop))
        ]
        answer(batch, DONE, _u32.pack(len(kept)), b"".join(kept))


def lines(settings):
    """The lines that the source brings. One of your own would remember how far it came."""
    if "file" in settings:
        with open(settings["file"], "rb") as file:
            for line in file:
                yield line.rstrip(b"\r\n")
    for number in range(int(settings.get("count", 0))):
        yield b"line %d" % number


def bring(hello):
    most = hello.batch_events or 100
    number, batch = 0, []

    def put():
        """Sends the batch until the agent has stored it. True when it is time to stop."""
        send(BATCH, struct.pack(">QI", number, len(batch)), *batch)
        while True:
            kind, payload = receive()
            if kind != ANSWER:
                return True  # Stop. What was not answered would be kept for the next time.
            if payload[8] == DONE:
                return False
            send(BATCH, struct.pack(">QI", number, len(batch)), *batch)

    for line in lines(hello.settings):
        batch.append(event({"origin": "python"}, line))
        if len(batch) == most:
            if put():
                return
            number, batch = number + 1, []
    if batch:
        put()


def deliver(hello):
    refuse = hello.settings.get("refuse", "").encode()
    with open(hello.settings["file"], "ab") as file:
        while True:
            kind, payload = receive()
            if kind != BATCH:
                return
            batch, events = read_batch(payload)
            refused = {
                place
                for place, (_headers, body) in enumerate(events)
                if refuse and body.startswith(refuse)
            }
            try:
                file.writelines(
                    body + b"\n"
                    for place, (_headers, body) in enumerate(events)
                    if place not in refused
                )
                file.flush()
                os.fsync(file.fileno())
            except OSError as error:
                answer(batch, AGAIN, text(str(error)))
                continue
            why = text("nobody wants it")
            refusals = (_u32.pack(place) + why for place in sorted(refused))
            answer(batch, DONE, _u32.pack(len(refused)), *refusals)


def main():
    kind, payload = receive()
    if kind != HELLO:
        sys.exit("the agent did not begin with Hello; this program is started by splashdam")
    hello = Hello(payload)
    send(READY, struct.pack(">H", VERSION), text("external.py 1"))
    {b"interceptor": intercept, b"source": bring, b"sink": deliver}[hello.role](hello)


if __name__ == "__main__":
    main()
