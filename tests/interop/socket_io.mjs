// A client of the first system: one JSON line for each thing it hears goes out, and one JSON array of
// an event and its data comes in for each that it emits; "sign in" is for a new client in its place.
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const [url, token, ...transports] = process.argv.slice(2);
const say = (name, data) => process.stdout.write(`${JSON.stringify([name, data])}\n`);
const often = { reconnectionDelay: 50, reconnectionDelayMax: 100 };
let socket;

function open(token) {
  const before = socket;
  const own = io(url, { auth: { token }, transports, forceNew: true, ...often });
  socket = own;
  before?.close();
  say("new client", {}); // what comes now is its own
  const tell = (name, data) => socket === own && say(name, data);
  own.on("connect", () => tell("connect", { transport: own.io.engine.transport.name }));
  own.io.on("reconnect", () => tell("reconnect", {}));
  own.on("connect_error", (error) => tell("connect_error", { message: error.message }));
  own.on("disconnect", (reason) => tell("disconnect", { reason }));
  own.onAny(tell);
}

open(token);
const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const [name, data] = JSON.parse(line);
  if (name === "sign in") open(data.token);
  else socket.emit(name, data);
});
lines.on("close", () => socket.close());
