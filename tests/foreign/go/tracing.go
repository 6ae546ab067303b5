package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// trace --topic T --group G --trace-topic X --count N: N messages sent and received, both with the client's trace.
func trace(o options) error {
	servers, err := o.nameServers()
	if err != nil {
		return err
	}
	config := &primitive.TraceConfig{TraceTopic: o.text("trace-topic", ""), NamesrvAddrs: servers,
		GroupName: o.text("group", ""), Access: primitive.Local}
	sender, err := startProducer(o, "sender", producer.WithTrace(config))
	if err != nil {
		return err
	}
	count, ids := o.number("count", 1), []string{}
	for number := 0; number < count; number++ {
		result, err := sender.SendSync(context.Background(), sampleMessage(o, number))
		if err != nil {
			return err
		}
		ids = append(ids, result.MsgID)
	}
	g := newGathering()
	member, err := g.join(o, "trace", always, consumer.WithTrace(config))
	if err != nil {
		return err
	}
	if err := await(o.deadline(), "all messages", func() bool { return g.distinct() >= count }); err != nil {
		return err
	}
	records, err := awaitRecords(o, 3*count)
	if err != nil {
		return err
	}
	if err := member.Shutdown(); err != nil {
		return err
	}
	if err := sender.Shutdown(); err != nil {
		return err
	}
	return report(map[string]any{"ids": ids, "records": records})
}

// awaitRecords reads the only queue of the trace topic until it has held so many records; a pull at its end waits for more.
func awaitRecords(o options, count int) ([]string, error) {
	reading := o.with("topic", o.text("trace-topic", "")).with("group", o.text("group", "")+"-reader")
	queues, err := publishQueues(reading)
	if err != nil {
		return nil, err
	}
	if len(queues) != 1 {
		return nil, fmt.Errorf("the trace topic has %d queues, not one", len(queues))
	}
	pull, err := startPullConsumer(reading)
	if err != nil {
		return nil, err
	}
	records, deadline := []string{}, o.deadline()
	for next := int64(0); len(records) < count; {
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("only %d records: %q", len(records), records)
		}
		result, err := pull.PullFrom(context.Background(), queues[0], next, 32)
		if err != nil {
			return nil, err
		}
		next = result.NextBeginOffset
		if result.Status != primitive.PullFound {
			continue
		}
		for _, message := range result.GetMessageExts() {
			records = append(records, strings.FieldsFunc(string(message.Body), isRecordEnd)...)
		}
	}
	return records, pull.Shutdown()
}

func isRecordEnd(char rune) bool {
	return char == '\x02'
}
