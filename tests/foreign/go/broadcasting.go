package main

import (
	"fmt"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
)

// broadcast --topic T --group G --members a,b --expect N: each member gets every message. Members keep the names that
// they are given, for their offsets lie in local files by name.
func broadcast(o options) error {
	g, members := newGathering(), []rocketmq.PushConsumer{}
	names := o.list("members")
	for _, name := range names {
		member, err := g.join(o, name, always, consumer.WithConsumerModel(consumer.BroadCasting), consumer.WithInstance(name))
		if err != nil {
			return err
		}
		members = append(members, member)
	}
	expect := len(names) * o.number("expect", 1)
	waited := await(o.deadline(), fmt.Sprintf("%d deliveries", expect), func() bool {
		return g.count() >= expect && isNoted(members, o.text("topic", ""))
	})
	for _, member := range members {
		if err := member.Shutdown(); err != nil {
			return err
		}
	}
	if waited != nil {
		return waited
	}
	return g.report(map[string]any{})
}

// isNoted tells whether the members' own offsets are at the end of all they have read.
func isNoted(members []rocketmq.PushConsumer, topic string) bool {
	for _, member := range members {
		if member.GetOffsetDiffMap()[topic] > 0 {
			return false
		}
	}
	return true
}
