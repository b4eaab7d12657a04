<?php
// Sends a job to workd and prints its outcome. Needs the extension `redis`; docs/protocol.md is all it knows.
//
//   REDIS_URL=redis://127.0.0.1:6379/0 php producer.php key|stream TASK [ARGS [ID]]
//   php producer.php key square '[4]'
//
// `key` asks for the result again and again, `stream` is told. ARGS is a JSON array. With an ID of its own a job may be
// sent again after an error: it is run once.
// Exit code: 0 the task returned, 1 the job ended otherwise, 2 it is not known (the reason is on standard error).

declare(strict_types=1);

const QUEUE = 'workd:{default}:'; // the braces are part of the keys
const PATIENCE_S = 30;

function connect(string $url): Redis
{
    $parts = parse_url($url);
    $redis = new Redis();
    $redis->connect($parts['host'] ?? '127.0.0.1', $parts['port'] ?? 6379, 2.0);
    $redis->setOption(Redis::OPT_READ_TIMEOUT, '5');
    $redis->setOption(Redis::OPT_MAX_RETRIES, '0'); // a command that was sent may have been done: never send it again
    return $redis;
}

/** Return what Redis answered; phpredis says false for an error, and keeps its text. */
function answer(Redis $redis, mixed $answer): mixed
{
    $error = $redis->getLastError();
    if ($error !== null) {
        throw new RuntimeException($error);
    }
    return $answer;
}

/** Put a job on the queue and return its id. If it throws after the connection broke, the job may be queued. */
function enqueue(Redis $redis, string $task, array $args, array $options = []): string
{
    // Without the flag, a text that is not UTF-8 would become false, and the message empty.
    $flags = JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE | JSON_PRESERVE_ZERO_FRACTION;
    $message = json_encode(['task' => $task, 'args' => array_values($args)] + $options, $flags);
    $entry = answer($redis, $redis->xAdd(QUEUE . 'stream', '*', ['m' => $message]));
    return $options['id'] ?? $entry; // a job without a name of its own is called by its entry
}

/** Ask for an outcome until it is there; the message must have had a result_ttl. */
function outcome_by_key(Redis $redis, string $id): string
{
    for ($end = microtime(true) + PATIENCE_S; microtime(true) < $end; usleep(50_000)) {
        $raw = answer($redis, $redis->get(QUEUE . "result:$id"));
        if ($raw !== false) {
            return $raw;
        }
    }
    throw new RuntimeException("no outcome of $id in time; it may still run");
}

/** Make the stream that outcomes come by, before the first job is sent; return the place from which to read. */
function open_replies(Redis $redis, string $name): string
{
    $last = answer($redis, $redis->xAdd(QUEUE . "reply:$name", '*', ['w' => '']));
    // It is gone after a minute; whoever waits longer says this again, a few times a minute.
    answer($redis, $redis->pExpire(QUEUE . "reply:$name", 60_000));
    return $last;
}

/** Wait for the reply to this job; other jobs' outcomes are dropped (a real program would hand them on). */
function outcome_by_stream(Redis $redis, string $name, string $last, string $id): string
{
    $key = QUEUE . "reply:$name";
    for ($end = microtime(true) + PATIENCE_S; microtime(true) < $end;) {
        $read = answer($redis, $redis->xRead([$key => $last], 100, 1000)); // at most 100, at most 1 s
        foreach ($read[$key] ?? [] as $last => $fields) {
            $last = (string) $last;
            // An entry without `m` is no outcome. Whole numbers beyond 2^63 would be rounded: the text is kept.
            if (isset($fields['m']) && json_decode($fields['m'], flags: JSON_THROW_ON_ERROR)->id === $id) {
                return $fields['m'];
            }
        }
    }
    throw new RuntimeException("no reply for $id in time; its key may have it");
}

[, $how, $task] = $argv;
try {
    $redis = connect(getenv('REDIS_URL') ?: 'redis://127.0.0.1:6379/0');
    $options = ['result_ttl' => 3600] + (isset($argv[4]) ? ['id' => $argv[4]] : []);
    $last = '0';
    if ($how === 'stream') {
        $options['reply_to'] = 'php.' . bin2hex(random_bytes(8));
        $last = open_replies($redis, $options['reply_to']);
    }
    $id = enqueue($redis, $task, json_decode($argv[3] ?? '[]', flags: JSON_THROW_ON_ERROR), $options);
    $raw = $how === 'stream'
        ? outcome_by_stream($redis, $options['reply_to'], $last, $id)
        : outcome_by_key($redis, $id);
} catch (RedisException | RuntimeException | JsonException $error) {
    fwrite(STDERR, "$task: {$error->getMessage()}\n");
    exit(2);
}
echo "$raw\n";
exit(json_decode($raw)->status === 'succeeded' ? 0 : 1);
