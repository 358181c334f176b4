"""The tutorial's echo server; the port is its argument, 0 for a free one."""
import socket
import sys

with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
    listener.bind(("127.0.0.1", int(sys.argv[1])))
    listener.listen()
    print("Listening on %s:%d" % listener.getsockname(), flush=True)
    connection, address = listener.accept()
    with connection:
        print("Connected by", address, flush=True)
        while True:
            data = connection.recv(1024)
            if not data:
                break
            connection.sendall(data)
