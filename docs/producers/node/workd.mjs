// A producer for workd: what docs/protocol.md says, in a few functions. Needs the package `redis` (node-redis 5).

import { randomUUID } from "node:crypto";

// JSON.stringify refuses BigInt: it goes through as a string that nobody else writes, and its quotes are taken off.
const MARK = `bigint:${randomUUID()}:`;
const MARKED = new RegExp(`"${MARK}(-?\\d+)"`, "g");

const key = (queue, what) => `workd:{${queue}}:${what}`; // the braces are part of the key

/**
 * Write one message. `options` are the fields of the protocol, by their names there; a Date is taken for a time.
 * A field that is not in the protocol makes the job a dead letter.
 * JavaScript's numbers are exact up to 2^53 - 1: give larger integers as BigInt.
 */
export function message(task, args = [], options = {}) {
  const { kwargs, ...rest } = options;
  const fields = { task };
  if (args.length > 0) fields.args = args;
  if (kwargs !== undefined) fields.kwargs = kwargs;
  for (const [name, value] of Object.entries(rest)) {
    fields[name] = value instanceof Date ? value.toISOString() : value;
  }
  const text = JSON.stringify(fields, (name, value) => {
    // JSON.stringify would write null for these, and the task would be run with it.
    if (typeof value === "number" && !Number.isFinite(value)) throw new TypeError(`${name}: ${value} is not in JSON`);
    return typeof value === "bigint" ? `${MARK}${value}` : value;
  });
  return text.replace(MARKED, "$1");
}

/** Put a job on a queue; resolves to its id. If it rejects after the connection broke, the job may be queued. */
export async function enqueue(client, task, args = [], { queue = "default", ...options } = {}) {
  const entry = await client.xAdd(key(queue, "stream"), "*", { m: message(task, args, options) });
  return options.id ?? entry; // a job without a name of its own is called by its entry
}

/** Ask for an outcome until it is there. The job must have been sent with a `result_ttl`. Resolves to its JSON text. */
export async function outcomeByKey(client, id, { queue = "default", timeoutMs = 30_000 } = {}) {
  const end = Date.now() + timeoutMs;
  for (let pause = 5; Date.now() < end; pause = Math.min(pause * 1.5, 250)) {
    const raw = await client.get(key(queue, `result:${id}`));
    if (raw !== null) return raw;
    await new Promise((wake) => setTimeout(wake, pause));
  }
  throw new Error(`no outcome of ${id} within ${timeoutMs} ms; it may still run`);
}

/** A stream that outcomes come by. One serves a whole process; it needs a connection of its own, since it blocks. */
export class Replies {
  #client; #key; #last;

  constructor(client, name, queue = "default") {
    this.#client = client;
    this.#key = key(queue, `reply:${name}`);
    this.name = name; // for `reply_to`
  }

  /** Make the stream: before the first job is sent, or its reply has nowhere to go. */
  async open() {
    this.#last = await this.#client.xAdd(this.#key, "*", { w: "" });
    await this.#keepAlive();
  }

  /** Wait for the outcome of this job; those of other jobs are dropped (a real program would hand them on). */
  async outcome(id, timeoutMs = 30_000) {
    const end = Date.now() + timeoutMs;
    while (Date.now() < end) {
      const read = await this.#client.xRead({ key: this.#key, id: this.#last }, { BLOCK: 1000, COUNT: 100 });
      for (const entry of read?.[0]?.messages ?? []) {
        this.#last = entry.id;
        const raw = entry.message.m; // missing in the entry that made the stream
        if (raw !== undefined && JSON.parse(raw).id === id) return raw;
      }
      await this.#keepAlive();
    }
    throw new Error(`no reply for ${id} within ${timeoutMs} ms; its key may have it`);
  }

  /** The stream is gone a minute after the last word from us; what has been read is dropped. */
  async #keepAlive() {
    await this.#client.pExpire(this.#key, 60_000);
    await this.#client.xTrim(this.#key, "MINID", this.#last);
  }
}
