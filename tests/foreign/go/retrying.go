package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// A failure is a message that is refused so many times, each time with this level for its next delivery (0: the
// server's choice).
type failure struct {
	times int32
	level int
}

// retry --topic T --group G --count N --fail number:times[:level],… --max M --expect DELIVERIES [--orderly]
//
// Sends N messages and receives them, refusing those named, until so many deliveries were made. The retry topic of the
// group must exist: this client looks for new routes every 30 s only, too late for one that its own start has made.
func retry(o options) error {
	failures, err := parseFailures(o.text("fail", ""))
	if err != nil {
		return err
	}
	isOrderly := o.text("orderly", "") == "true"
	g := newGathering()
	member, err := g.join(o, "retry", func(ctx context.Context, message *primitive.MessageExt) consumer.ConsumeResult {
		failure := failures[sampleNumber(message)]
		if message.ReconsumeTimes >= failure.times {
			return consumer.ConsumeSuccess
		}
		if isOrderly {
			return consumer.SuspendCurrentQueueAMoment
		}
		if concurrently, ok := primitive.GetConcurrentlyCtx(ctx); ok {
			concurrently.DelayLevelWhenNextConsume = failure.level
		}
		return consumer.ConsumeRetryLater
	}, consumer.WithMaxReconsumeTimes(int32(o.number("max", 16))), consumer.WithConsumerOrder(isOrderly))
	if err != nil {
		return err
	}
	if err := send(o); err != nil {
		return err
	}
	expect := o.number("expect", 1)
	waited := await(o.deadline(), fmt.Sprintf("%d deliveries", expect), func() bool { return g.count() >= expect })
	if waited == nil {
		waited = await(o.deadline(), "the answers to what was given back", func() bool { return isSettled(member) })
	}
	if err := member.Shutdown(); err != nil {
		return err
	}
	if waited != nil {
		return fmt.Errorf("%w; came %v", waited, g.deliveries)
	}
	return g.report(map[string]any{})
}

// isSettled tells whether all that a member has received is consumed or given back to the server: its offsets pass a
// refused message when the server has answered. A shutdown before that would drop the message.
func isSettled(member rocketmq.PushConsumer) bool {
	for _, behind := range member.GetOffsetDiffMap() {
		if behind > 0 {
			return false
		}
	}
	return true
}

func parseFailures(text string) (map[int]failure, error) {
	failures := map[int]failure{}
	for _, one := range strings.Split(text, ",") {
		numbers := []int{}
		for _, word := range strings.Split(one, ":") {
			number, err := strconv.Atoi(word)
			if err != nil {
				return nil, err
			}
			numbers = append(numbers, number)
		}
		if len(numbers) < 2 {
			return nil, fmt.Errorf("%q is no number:times[:level]", one)
		}
		failures[numbers[0]] = failure{times: int32(numbers[1]), level: append(numbers, 0)[2]}
	}
	return failures, nil
}

// retry-polled --topic T --group G --expect N: refuses what is polled for the first time, and takes it the next time.
func retryPolled(o options) error {
	pull, err := startPullConsumer(o)
	if err != nil {
		return err
	}
	c, refused, deadline := newConsuming(o), 0, o.deadline()
	for !c.isEnough() && time.Now().Before(deadline) {
		request, err := pull.Poll(context.Background(), time.Second)
		if consumer.IsNoNewMsgError(err) {
			continue
		}
		if err != nil {
			return err
		}
		messages := request.GetMsgList()
		result := consumer.ConsumeSuccess
		if messages[0].ReconsumeTimes == 0 {
			result = consumer.ConsumeRetryLater
			refused += len(messages)
		} else {
			c.receive(messages)
		}
		pull.ACK(context.Background(), request, result)
	}
	if err := pull.Shutdown(); err != nil {
		return err
	}
	if err := report(map[string]any{"refused": refused}); err != nil {
		return err
	}
	return c.report()
}
