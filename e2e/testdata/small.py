# Keeps every fiftieth of many small objects, which leaves few pools free, and every
# two thousandth, which leaves most free. Prints what Python itself says of its arenas: bytes in use, bytes of pools without an object, bytes of an arena.
import os, re, sys, tempfile

fragmented = [str(i) * 3 for i in range(1000000)]
free = [str(i) * 3 for i in range(1000000)]
kept = fragmented[::50], free[::2000]
del fragmented, free
out = tempfile.TemporaryFile()
was = os.dup(2)
os.dup2(out.fileno(), 2)
sys._debugmallocstats()
sys.stderr.flush()
os.dup2(was, 2)
out.seek(0)
text = out.read().decode().replace(",", "")


def said(pattern):
    return int(re.search(pattern, text).group(1))


print("ready", said(r"bytes in allocated blocks *= *(\d+)"), said(r"unused pools \* \d+ bytes *= *(\d+)"),
      said(r"arenas \* (\d+) bytes/arena"), flush=True)
sys.stdin.read()
