// Sends a job to workd and prints its outcome. Needs github.com/gomodule/redigo; docs/protocol.md is all it knows.
//
//	REDIS_URL=redis://127.0.0.1:6379/0 producer key|stream TASK [ARGS [ID]]
//	producer key square '[4]'
//
// `key` asks for the result again and again, `stream` is told. ARGS is a JSON array. With an ID of its own a job may be
// sent again after an error: it is run once.
// Exit code: 0 the task returned, 1 the job ended otherwise, 2 it is not known (the reason is on standard error).
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gomodule/redigo/redis"
)

const (
	queue    = "workd:{default}:" // the braces are part of the keys
	patience = 30 * time.Second
)

// Message is what a producer sends; docs/protocol.md has more fields.
type Message struct {
	Task      string          `json:"task"`
	Args      json.RawMessage `json:"args,omitempty"` // as it is: float64 would round integers beyond 2^53
	ID        string          `json:"id,omitempty"`
	ReplyTo   string          `json:"reply_to,omitempty"`
	ResultTTL int             `json:"result_ttl,omitempty"`
}

// Outcome is what a producer looks at here; docs/protocol.md has more fields.
type Outcome struct {
	ID     string `json:"id"`
	Status string `json:"status"`
}

var errLate = errors.New("no outcome in time; the job may still run")

// enqueue puts a job on the queue and returns its id. After an error the job may be queued.
func enqueue(conn redis.Conn, message Message) (string, error) {
	var raw bytes.Buffer
	encoder := json.NewEncoder(&raw)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(message); err != nil {
		return "", err
	}
	entry, err := redis.String(conn.Do("XADD", queue+"stream", "*", "m", bytes.TrimSpace(raw.Bytes())))
	if err != nil || message.ID != "" {
		return message.ID, err
	}
	return entry, nil // a job without a name of its own is called by its entry
}

// byKey asks for the outcome until it is there; the message must have had a result_ttl.
func byKey(conn redis.Conn, id string) ([]byte, error) {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		raw, err := redis.Bytes(conn.Do("GET", queue+"result:"+id))
		if err != redis.ErrNil { // which means: not yet
			return raw, err
		}
	}
	return nil, errLate
}

// openReplies makes the stream that outcomes come by, before the first job is sent. It is gone after a minute; whoever
// waits longer sends PEXPIRE again, a few times a minute. Returns the place from which to read.
func openReplies(conn redis.Conn, name string) (string, error) {
	last, err := redis.String(conn.Do("XADD", queue+"reply:"+name, "*", "w", ""))
	if err == nil {
		_, err = conn.Do("PEXPIRE", queue+"reply:"+name, 60000)
	}
	return last, err
}

// byStream waits for the reply to this job; other jobs' outcomes are dropped (a real program would hand them on).
func byStream(conn redis.Conn, name, last, id string) ([]byte, error) {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		streams, err := redis.Values(conn.Do("XREAD", "BLOCK", 1000, "COUNT", 100, "STREAMS", queue+"reply:"+name, last))
		if err == redis.ErrNil { // nothing came within the second
			continue
		}
		if err != nil {
			return nil, err
		}
		stream, err := redis.Values(streams[0], nil) // key and entries
		if err != nil {
			return nil, err
		}
		entries, err := redis.Values(stream[1], nil)
		if err != nil {
			return nil, err
		}
		for _, row := range entries {
			entry, err := redis.Values(row, nil) // id and fields
			if err != nil {
				return nil, err
			}
			last, _ = redis.String(entry[0], nil)
			fields, err := redis.StringMap(entry[1], nil)
			if err != nil {
				return nil, err
			}
			var outcome Outcome // an entry without `m` is no outcome
			if raw, ok := fields["m"]; ok && json.Unmarshal([]byte(raw), &outcome) == nil && outcome.ID == id {
				return []byte(raw), nil
			}
		}
	}
	return nil, errLate
}

func run(how string, message Message) ([]byte, error) {
	url := os.Getenv("REDIS_URL")
	if url == "" {
		url = "redis://127.0.0.1:6379/0"
	}
	conn, err := redis.DialURL(url, redis.DialConnectTimeout(2*time.Second), redis.DialReadTimeout(5*time.Second))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	last := ""
	if how == "stream" {
		message.ReplyTo = fmt.Sprintf("go.%d.%d", os.Getpid(), time.Now().UnixNano())
		if last, err = openReplies(conn, message.ReplyTo); err != nil {
			return nil, err
		}
	}
	id, err := enqueue(conn, message)
	if err != nil {
		return nil, err
	}
	if how == "stream" {
		return byStream(conn, message.ReplyTo, last, id)
	}
	return byKey(conn, id)
}

func main() {
	words := append(os.Args[1:], "", "", "", "")
	message := Message{Task: words[1], Args: json.RawMessage(words[2]), ID: words[3], ResultTTL: 3600}
	raw, err := run(words[0], message)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", message.Task, err)
		os.Exit(2)
	}
	fmt.Printf("%s\n", raw)
	var outcome Outcome
	if err := json.Unmarshal(raw, &outcome); err != nil || outcome.Status != "succeeded" {
		os.Exit(1)
	}
}
