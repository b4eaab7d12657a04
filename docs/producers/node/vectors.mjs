// Builds every message of tests/vectors/messages.json that is right, from its fields, and prints one a line.
//
//   node vectors.mjs ../../../tests/vectors/messages.json
import { readFileSync } from "node:fs";
import { message } from "./workd.mjs";

// JSON.parse would round integers of 16 digits and more (each is on a line of its own): they are made BigInt.
const read = readFileSync(process.argv[2], "utf8");
const text = read.replace(/^(\s*(?:"[^"]*": )?)(-?\d{16,})(?=,?$)/gm, '$1"bigint:$2"');
const whole = (_, value) =>
  typeof value === "string" && /^bigint:-?\d+$/.test(value) ? BigInt(value.slice("bigint:".length)) : value;

for (const vector of JSON.parse(text, whole).messages) {
  if (vector.read_as === undefined) continue;
  const { task, args, ...options } = vector.read_as;
  console.log(JSON.stringify({ name: vector.name, message: message(task, args, options) }));
}
