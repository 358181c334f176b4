"""The tutorial's echo server, on a free port that its first line tells."""
import socket

with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
    listener.bind(("127.0.0.1", 0))
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
