# Runs in a kernel before a lesson's first cell: refuses every way out of this machine and notes each attempt.


def _stay_offline():
    import os
    import re
    import sys

    log = os.open(os.environ["FEATLAB_NETWORK_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    asks_a_name = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}
    fetches = re.compile(r"\b(conda|curl|git|pip|ssh|uv|wget)\b")  # programs that this hook cannot look into
    sends = {"socket.connect", "socket.sendto", "socket.sendmsg"}

    def refuse(event, args):
        if event in asks_a_name:
            host = args[0]
        elif event in sends and isinstance(args[1], tuple):  # text or bytes: a socket in the file system
            host = args[1][0]
        elif event == "subprocess.Popen" and fetches.search(str(args[1])):
            host = f"what '{args[1]}' fetches"
        else:
            return
        host = host.decode() if isinstance(host, bytes) else host
        if host in (None, "", "localhost", "::1", "0.0.0.0") or str(host).startswith("127."):
            return
        os.write(log, f"{event} {host}\n".encode())
        raise OSError(f"a lesson runs without the network, but asked for {host}")

    sys.addaudithook(refuse)


_stay_offline()
del _stay_offline
