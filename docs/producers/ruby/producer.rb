# frozen_string_literal: true

# Sends a job to workd and prints its outcome. Needs the gem `redis`; docs/protocol.md is all it knows.
#
#   REDIS_URL=redis://127.0.0.1:6379/0 ruby producer.rb key|stream TASK [ARGS [ID]]
#   ruby producer.rb key square '[4]'
#
# `key` asks for the result again and again, `stream` is told. ARGS is a JSON array. With an ID of its own a job may be
# sent again after an error: it is run once.
# Exit code: 0 the task returned, 1 the job ended otherwise, 2 it is not known (the reason is on standard error).

require "json"
require "redis"
require "securerandom"

# A producer for one queue.
class Workd
  class Late < StandardError; end

  PATIENCE_S = 30

  def initialize(url, queue = "default")
    # No retries by the gem: a command that was sent may have been done.
    @redis = Redis.new(url: url, connect_timeout: 2, read_timeout: 5, reconnect_attempts: 0)
    @prefix = "workd:{#{queue}}:" # the braces are part of the keys
  end

  # Put a job on the queue and return its id. If it raises after the connection broke, the job may be queued.
  # `options` are the fields of the protocol. JSON.generate refuses NaN and Infinity, which are not in JSON.
  def enqueue(task, args, **options)
    message = JSON.generate({ task: task, args: args, **options })
    entry = @redis.xadd("#{@prefix}stream", { m: message })
    options.fetch(:id, entry) # a job without a name of its own is called by its entry
  end

  # Ask for an outcome until it is there; the message must have had a result_ttl. Returns its JSON text.
  def outcome_by_key(id)
    patiently("no outcome of #{id} in time; it may still run") do
      @redis.get("#{@prefix}result:#{id}") || (sleep(0.05) && nil)
    end
  end

  # Make the stream that outcomes come by, before the first job is sent; return the place from which to read.
  def open_replies(name)
    last = @redis.xadd("#{@prefix}reply:#{name}", { w: "" })
    @redis.pexpire("#{@prefix}reply:#{name}", 60_000) # say it again, a few times a minute, if you wait longer
    last
  end

  # Wait for the reply to this job; other jobs' outcomes are dropped (a real program would hand them on).
  def outcome_by_stream(name, last, id)
    key = "#{@prefix}reply:#{name}"
    patiently("no reply for #{id} in time; its key may have it") do
      entries = @redis.xread(key, last, count: 100, block: 1000).fetch(key, [])
      last = entries.last.first unless entries.empty?
      # An entry without `m` is no outcome.
      entries.filter_map { |_, fields| fields["m"] }.find { |raw| JSON.parse(raw)["id"] == id }
    end
  end

  private

  def patiently(complaint)
    end_s = now_s + PATIENCE_S
    while now_s < end_s
      found = yield
      return found if found
    end
    raise Late, complaint
  end

  def now_s = Process.clock_gettime(Process::CLOCK_MONOTONIC)
end

how, task, args, id = ARGV
begin
  workd = Workd.new(ENV.fetch("REDIS_URL", "redis://127.0.0.1:6379/0"))
  options = { result_ttl: 3600 }
  options[:id] = id if id
  if how == "stream"
    options[:reply_to] = "ruby.#{SecureRandom.uuid}"
    last = workd.open_replies(options[:reply_to])
  end
  job = workd.enqueue(task, JSON.parse(args || "[]"), **options)
  raw = how == "stream" ? workd.outcome_by_stream(options[:reply_to], last, job) : workd.outcome_by_key(job)
rescue Redis::BaseError, JSON::JSONError, Workd::Late => e
  warn "#{task}: #{e.message}"
  exit 2
end
puts raw
exit JSON.parse(raw)["status"] == "succeeded" ? 0 : 1
