// A peer to be stopped by SIGSTOP: it asks the server for more than the buffers of a connection hold, has room for all
// of it, reads a little and says so. Its kernel goes on to acknowledge what comes until its own buffer is full.
// Argument: host:port.
import { connect } from "node:http2";

const WINDOW = 2 ** 31 - 1;
// Field 4 of a reflection request: file_containing_symbol. Each answer has some 10 KB.
const symbol = Buffer.from("veilface.v1.GalleryService");
const request = Buffer.concat([Buffer.of(0, 0, 0, 0, symbol.length + 2, 0x22, symbol.length), symbol]);

const session = connect(`http://${process.argv[2]!}`, { settings: { initialWindowSize: WINDOW } });
session.on("remoteSettings", () => {
  session.setLocalWindowSize(WINDOW);
  const path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
  const stream = session.request({
    ":method": "POST",
    ":path": path,
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream.once("data", () => process.stdout.write("reading\n"));
  stream.write(Buffer.concat(Array.from({ length: 4000 }, () => request)));
});
