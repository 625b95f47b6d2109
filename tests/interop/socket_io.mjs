// A client of the first system: one JSON line for each thing it hears goes out, and one JSON array of
// an event and its data comes in for each that it emits.
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const [url, token, ...transports] = process.argv.slice(2);
const say = (name, data) => process.stdout.write(`${JSON.stringify([name, data])}\n`);
const socket = io(url, { auth: { token }, transports, reconnectionDelay: 50, reconnectionDelayMax: 100 });

socket.on("connect", () => say("connect", { transport: socket.io.engine.transport.name }));
socket.io.on("reconnect", () => say("reconnect", {}));
socket.on("connect_error", (error) => say("connect_error", { message: error.message }));
socket.on("disconnect", (reason) => say("disconnect", { reason }));
socket.onAny(say);

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const [name, data] = JSON.parse(line);
  socket.emit(name, data);
});
lines.on("close", () => socket.close());
