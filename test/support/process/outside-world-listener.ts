// The namespace's outside world: answers every question for a name with an address of this machine, takes every
// connection on the usual ports, notes both, and runs Node with the given arguments meanwhile. Prints {asked, output}
// as JSON.
import { execFile } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer } from "node:net";
import { promisify } from "node:util";

const DNS_HEADER_BYTES = 12;
const asked: string[] = [];

const names = createSocket("udp4").on("message", (question, from) => {
  asked.push(`look-up of ${nameIn(question)}`);
  names.send(answerTo(question), from.port, from.address);
});
names.bind(53, "127.0.0.1");
await once(names, "listening");
const listeners = await Promise.all(
  [80, 443].map(async (port) => {
    const listener = createServer((socket) => {
      asked.push(`connection to port ${port}`);
      socket.on("error", () => undefined).destroy();
    });
    await once(listener.listen(port, "0.0.0.0"), "listening");
    return listener;
  }),
);

const { stdout } = await promisify(execFile)(process.execPath, process.argv.slice(2), { maxBuffer: 2 ** 24 });
process.stdout.write(JSON.stringify({ asked, output: stdout }));
names.close();
for (const listener of listeners) listener.close();

function nameIn(question: Buffer): string {
  const labels: string[] = [];
  for (let at = DNS_HEADER_BYTES; question[at]; at += question[at]! + 1)
    labels.push(question.toString("latin1", at + 1, at + 1 + question[at]!));
  return labels.join(".");
}

/** 127.0.0.1 for a question of type A (RFC 1035, 4.1), no address for any other. */
function answerTo(question: Buffer): Buffer {
  const nameEnd = question.indexOf(0, DNS_HEADER_BYTES) + 1;
  const isA = question.readUInt16BE(nameEnd) === 1;
  const head = Buffer.from(question.subarray(0, nameEnd + 4));
  head.writeUInt16BE(0x8180, 2);
  head.writeUInt16BE(isA ? 1 : 0, 6);
  head.writeUInt32BE(0, 8);
  return Buffer.concat([
    head,
    isA ? Buffer.from([0xc0, DNS_HEADER_BYTES, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]) : Buffer.alloc(0),
  ]);
}
