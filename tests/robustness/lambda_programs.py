"""Hostile lambdas: one that does whatever its caller sends, and one that speaks HTTP as no program should."""

from __future__ import annotations

OBEDIENT = """
async def main(request):
    scope = {}
    exec(compile(await request.text(), "sent", "exec"), scope)
    if "run" in scope:
        return await scope["run"]()
    return scope.get("result")
"""
"""Runs the Python text that it is sent, and answers with its `result`, or what its `run()` returns."""

RUDE = '''
import os, socket, threading, time

HEALTHY = b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n"

def endless(one, piece):
    while True:
        one.sendall(piece)

def head(one):
    data = b""
    while b"\\r\\n\\r\\n" not in data:
        piece = one.recv(65536)
        if not piece:
            return data
        data += piece
    return data

def headers(one):
    one.sendall(b"HTTP/1.1 200 OK\\r\\n")
    number = 0
    while True:
        number += 1
        one.sendall(b"X-%d: y\\r\\n" % number)

def header(one):
    one.sendall(b"HTTP/1.1 200 OK\\r\\nX: ")
    endless(one, b"y" * 65536)

def interim(one):
    endless(one, b"HTTP/1.1 100 Continue\\r\\n\\r\\n")

def early_hints(one):
    endless(one, b"HTTP/1.1 103 Early Hints\\r\\nLink: x\\r\\n\\r\\n")

def smuggled(one):
    one.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nfirst"
                b"HTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\n\\r\\nsecond")

def two_lengths(one):
    one.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\nContent-Length: 50\\r\\n\\r\\nfirst")

def both(one):
    one.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n"
                b"5\\r\\nfirst\\r\\n0\\r\\n\\r\\n")

def garbage(one):
    one.sendall(os.urandom(4096))

def banner(one):
    one.sendall(b"220 smtp.example ESMTP\\r\\n")

def nothing(one):
    pass

def short(one):
    one.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 1000\\r\\n\\r\\nshort")

def negative(one):
    one.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: -5\\r\\n\\r\\nfirst")

def bad_chunk(one):
    one.sendall(b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\nzz\\r\\nfirst\\r\\n")

def tiny_chunks(one):
    one.sendall(b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
    endless(one, b"1\\r\\na\\r\\n" * 1000)

def upgrade(one):
    one.sendall(b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n\\r\\n")
    time.sleep(60)

def redirect(one):
    one.sendall(b"HTTP/1.1 302 Found\\r\\nLocation: http://127.0.0.1:1/secret\\r\\nContent-Length: 0\\r\\n\\r\\n")

def cookie(one):
    one.sendall(b"HTTP/1.1 200 OK\\r\\nSet-Cookie: a=b\\r\\nContent-Length: 2\\r\\n\\r\\nok")

def slow(one):
    one.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 100000\\r\\n\\r\\n")
    while True:
        one.sendall(b"x")
        time.sleep(0.2)

def early(one):
    one.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nearly")

def unread(one):
    time.sleep(60)

def nul(one):
    one.sendall(b"HTTP/1.1 200 OK\\r\\nX: a\\x00b\\r\\nContent-Length: 2\\r\\n\\r\\nok")

def zipped(one):
    import zlib
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    data = b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()
    one.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Encoding: gzip\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(data) + data)

def dies(one):
    one.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 1000\\r\\n\\r\\nha")
    os._exit(7)

def answer(one):
    data = head(one)
    path = data.split(b" ")[1].decode() if b" " in data else ""
    try:
        if path == "/.luna/health":
            one.sendall(HEALTHY)
        else:
            globals()[path[1:]](one)
    except OSError:
        pass
    finally:
        one.close()

if os.environ.get("LUNA_LAMBDA_FD"):
    listener = socket.socket(fileno=3)
    while True:
        threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

async def main(request):
    """Never reached."""
'''
"""Takes the socket before its own program does, and answers each path in a way of its own."""
