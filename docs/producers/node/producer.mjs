// Sends a job to workd and prints its outcome.
//
//   REDIS_URL=redis://127.0.0.1:6379/0 node producer.mjs key|stream TASK [ARGS [ID]]
//   node producer.mjs key square '[4]'
//
// `key` asks for the result again and again, `stream` is told. ARGS is a JSON array. With an ID of its own a job may be
// sent again after an error: it is run once.
// Exit code: 0 the task returned, 1 the job ended otherwise, 2 it is not known (the reason is on standard error).
import { randomUUID } from "node:crypto";
import { createClient } from "redis";
import { Replies, enqueue, outcomeByKey } from "./workd.mjs";

const [how, task, args = "[]", id] = process.argv.slice(2);

const client = createClient({
  url: process.env.REDIS_URL ?? "redis://127.0.0.1:6379/0",
  // A command that was sent before the connection broke is not sent again: it may have been done.
  disableOfflineQueue: true,
  socket: { connectTimeout: 2000, reconnectStrategy: false },
});
client.on("error", () => {}); // whoever waits for an answer is told

try {
  await client.connect();
  const replies = new Replies(client, `node.${randomUUID()}`);
  const options = { result_ttl: 3600, ...(id && { id }) };
  if (how === "stream") {
    await replies.open();
    options.reply_to = replies.name;
  }
  const job = await enqueue(client, task, JSON.parse(args), options);
  const raw = how === "stream" ? await replies.outcome(job) : await outcomeByKey(client, job);
  console.log(raw);
  process.exitCode = JSON.parse(raw).status === "succeeded" ? 0 : 1;
} catch (error) {
  console.error(`${task}: ${error.message}`);
  process.exitCode = 2;
} finally {
  if (client.isOpen) client.destroy();
}
