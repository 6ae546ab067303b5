package main

import (
	"context"
	"strconv"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

type consuming struct {
	lock        sync.Mutex
	expect      int
	enough      chan struct{}
	numbers     map[int]bool
	tags        map[string]int
	origins     map[string]int
	queues      map[string]int
	nextOffsets map[string]int64
	received    int
	wrong       int
	redelivered int
	outOfOrder  int
	bodyBytes   int
	storedBytes int
	sampleID    string
	start       time.Time
}

func newConsuming(o options) *consuming {
	return &consuming{expect: o.number("expect", 1), enough: make(chan struct{}), numbers: map[int]bool{},
		tags: map[string]int{}, origins: map[string]int{}, queues: map[string]int{}, nextOffsets: map[string]int64{},
		start: time.Now()}
}

var startingPoints = map[string]consumer.ConsumeFromWhere{
	"first": consumer.ConsumeFromFirstOffset, "last": consumer.ConsumeFromLastOffset, "time": consumer.ConsumeFromTimestamp,
}

func consumerOptions(o options, kind string) ([]consumer.Option, error) {
	servers, err := o.nameServers()
	return []consumer.Option{
		consumer.WithNameServer(servers),
		consumer.WithGroupName(o.text("group", "")),
		consumer.WithInstance(instance(kind)),
		consumer.WithConsumeFromWhere(startingPoints[o.text("from", "first")]),
		consumer.WithConsumeTimestamp(o.text("from-time", "20200101000000")),
		consumer.WithConsumeMessageBatchMaxSize(32),
		consumer.WithPullBatchSize(32),
	}, err
}

// consume-push --topic T --group G [--sub EXPR] --expect N [--timeout S] [--from first|last|time] [--from-time YYYYMMDDhhmmss]
func consumePush(o options) error {
	settings, err := consumerOptions(o, "push")
	if err != nil {
		return err
	}
	push, err := rocketmq.NewPushConsumer(settings...)
	if err != nil {
		return err
	}
	c := newConsuming(o)
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: o.text("sub", "*")}
	err = push.Subscribe(o.text("topic", ""), selector,
		func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			c.receive(messages)
			return consumer.ConsumeSuccess, nil
		})
	if err != nil {
		return err
	}
	if err := push.Start(); err != nil {
		return err
	}
	select {
	case <-c.enough:
	case <-time.After(time.Until(o.deadline())):
	}
	if err := push.Shutdown(); err != nil {
		return err
	}
	return c.report()
}

// consume-poll: the pull consumer's Poll and ACK, queues given by rebalancing, offsets committed.
func consumePoll(o options) error {
	pull, err := startPullConsumer(o)
	if err != nil {
		return err
	}
	c, deadline := newConsuming(o), o.deadline()
	var last *primitive.MessageQueue
	for !c.isEnough() && time.Now().Before(deadline) {
		request, err := pull.Poll(context.Background(), time.Second)
		if consumer.IsNoNewMsgError(err) {
			continue
		}
		if err != nil {
			return err
		}
		c.receive(request.GetMsgList())
		pull.ACK(context.Background(), request, consumer.ConsumeSuccess)
		last = request.GetMQ()
	}
	if err := leave(pull, o, last); err != nil {
		return err
	}
	return c.report()
}

// consume-pull: PullFrom with explicit offsets, queue after queue until each is at its end, then PersistOffset.
func consumePull(o options) error {
	pull, err := startPullConsumer(o)
	if err != nil {
		return err
	}
	queues, err := publishQueues(o)
	if err != nil {
		return err
	}
	c, deadline := newConsuming(o), o.deadline()
	for _, queue := range queues {
		for offset, atEnd := int64(0), false; !atEnd && time.Now().Before(deadline); {
			result, err := pull.PullFrom(context.Background(), queue, offset, 32)
			if err != nil {
				return err
			}
			if result.Status == primitive.PullFound {
				c.receive(result.GetMessageExts())
			}
			offset, atEnd = result.NextBeginOffset, result.NextBeginOffset >= result.MaxOffset
			if err := pull.UpdateOffset(queue, offset); err != nil {
				return err
			}
		}
	}
	if err := leave(pull, o, queues[0]); err != nil {
		return err
	}
	return c.report()
}

// leave commits the offsets, then waits for the answer to a pull on the same connection before it closes that: a
// commit is not waited for by this client, and is lost when the connection is reset because of unread answers.
func leave(pull rocketmq.PullConsumer, o options, queue *primitive.MessageQueue) error {
	if err := pull.PersistOffset(context.Background(), o.text("topic", "")); err != nil {
		return err
	}
	if queue != nil {
		if _, err := pull.PullFrom(context.Background(), queue, 0, 1); err != nil {
			return err
		}
	}
	return pull.Shutdown()
}

func startPullConsumer(o options) (rocketmq.PullConsumer, error) {
	settings, err := consumerOptions(o, "pull")
	if err != nil {
		return nil, err
	}
	// Without it, this client lets what a pull consumer refuses die at once.
	pull, err := rocketmq.NewPullConsumer(append(settings, consumer.WithMaxReconsumeTimes(16))...)
	if err != nil {
		return nil, err
	}
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: o.text("sub", "*")}
	if err := pull.Subscribe(o.text("topic", ""), selector); err != nil {
		return nil, err
	}
	return pull, pull.Start()
}

func (c *consuming) isEnough() bool {
	c.lock.Lock()
	defer c.lock.Unlock()
	return len(c.numbers) >= c.expect
}

func (c *consuming) receive(messages []*primitive.MessageExt) {
	c.lock.Lock()
	defer c.lock.Unlock()
	was := len(c.numbers)
	for _, message := range messages {
		c.received++
		if number := sampleNumber(message); number < 0 {
			c.wrong++
		} else {
			c.numbers[number] = true
		}
		if message.ReconsumeTimes > 0 {
			c.redelivered++
		}
		c.bodyBytes += len(message.Body)
		c.storedBytes += int(message.StoreSize)
		c.tags[message.GetTags()]++
		c.origins[message.GetProperty("origin")]++
		queue := strconv.Itoa(message.Queue.QueueId)
		c.queues[queue]++
		if message.QueueOffset < c.nextOffsets[queue] {
			c.outOfOrder++
		} else {
			c.nextOffsets[queue] = message.QueueOffset + 1
		}
		c.sampleID = message.MsgId
	}
	if was < c.expect && len(c.numbers) >= c.expect {
		close(c.enough)
	}
}

func (c *consuming) report() error {
	c.lock.Lock()
	defer c.lock.Unlock()
	lowest, highest := -1, -1
	for number := range c.numbers {
		if lowest < 0 || number < lowest {
			lowest = number
		}
		highest = max(highest, number)
	}
	return report(map[string]any{
		"received": c.received, "distinct": len(c.numbers), "lowest": lowest, "highest": highest,
		"wrong": c.wrong, "redelivered": c.redelivered, "out_of_order": c.outOfOrder, "body_bytes": c.bodyBytes, "stored_bytes": c.storedBytes,
		"tags": c.tags, "origins": c.origins, "queues": c.queues, "next_offsets": c.nextOffsets,
		"sample_id": c.sampleID, "elapsed_ms": time.Since(c.start).Milliseconds(),
	})
}
