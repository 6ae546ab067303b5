package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// Messages that are sent ahead of what was received: so the stream goes on as long as members come and go.
const aheadMax = 128

// rebalance --topic T --group G --steps a/a,b/b --count N --between N [--orderly] [--shards 16]
//
// Numbered messages flow while the group has the members of one step after another. A step is over when its members
// share the queues evenly, by what each received, and `between` more messages have come.
func rebalance(o options) error {
	queues, err := publishQueues(o)
	if err != nil {
		return err
	}
	g, members, wanted := newGathering(), map[string]rocketmq.PushConsumer{}, new(atomic.Int32)
	flow, err := startFlow(o, g)
	if err != nil {
		return err
	}
	shares := []map[string][]int{}
	for _, step := range strings.Split(o.text("steps", "a"), "/") {
		names := strings.Split(step, ",")
		wanted.Store(int32(len(names)))
		first := g.count()
		if err := changeMembers(o, g, members, names, wanted); err != nil {
			return err
		}
		what := fmt.Sprintf("%s sharing %d queues", step, len(queues))
		if err := await(o.deadline(), what, func() bool { return isShared(g.owners(first), names, len(queues)) }); err != nil {
			return fmt.Errorf("%w; they have %v", err, g.owners(first))
		}
		shares = append(shares, g.owners(first))
		enough := g.distinct() + o.number("between", 100)
		if err := await(o.deadline(), "more messages", func() bool { return g.distinct() >= enough }); err != nil {
			return err
		}
	}
	sent, err := flow.finish()
	if err != nil {
		return err
	}
	if err := await(o.deadline(), "all that was sent", func() bool { return g.distinct() >= sent }); err != nil {
		return err
	}
	for _, member := range members {
		if err := member.Shutdown(); err != nil {
			return err
		}
	}
	return g.report(map[string]any{"sent": sent, "shares": shares})
}

// listen --topic T --group G --members a,b: members that stay until standard input ends.
func listen(o options) error {
	g, members := newGathering(), []rocketmq.PushConsumer{}
	for _, name := range o.list("members") {
		member, err := g.join(o, name, always)
		if err != nil {
			return err
		}
		members = append(members, member)
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	for _, member := range members {
		if err := member.Shutdown(); err != nil {
			return err
		}
	}
	return g.report(map[string]any{})
}

func changeMembers(o options, g *gathering, members map[string]rocketmq.PushConsumer, names []string, wanted *atomic.Int32) error {
	stay := map[string]bool{}
	for _, name := range names {
		stay[name] = true
	}
	for name, member := range members {
		if !stay[name] {
			delete(members, name)
			if err := member.Shutdown(); err != nil {
				return err
			}
		}
	}
	for _, name := range names {
		if members[name] != nil {
			continue
		}
		more := []consumer.Option{}
		if o.text("orderly", "") == "true" {
			more = append(more, consumer.WithConsumerOrder(true), consumer.WithStrategy(onceComplete(wanted)))
		}
		member, err := g.join(o, name, always, more...)
		if err != nil {
			return err
		}
		members[name] = member
	}
	return nil
}

// onceComplete shares evenly, but gives nothing before all are there. An orderly consumer of this client never
// returns the lock of a queue that it loses to another, only those it has when it leaves: who comes later waits for
// the lock to expire, by default a minute.
func onceComplete(wanted *atomic.Int32) consumer.AllocateStrategy {
	return func(group, id string, queues []*primitive.MessageQueue, ids []string) []*primitive.MessageQueue {
		if len(ids) < int(wanted.Load()) {
			return nil
		}
		return consumer.AllocateByAveragely(group, id, queues, ids)
	}
}

func isShared(owners map[string][]int, names []string, queues int) bool {
	total := 0
	for _, name := range names {
		has := len(owners[name])
		if has < queues/len(names) || has > (queues+len(names)-1)/len(names) {
			return false
		}
		total += has
	}
	return total == queues && len(owners) == len(names)
}

// A flow sends numbered messages, each shard's into one queue, until it is told to finish.
type flow struct {
	finishing atomic.Bool
	done      chan error
	sent      int
}

func startFlow(o options, g *gathering) (*flow, error) {
	sender, err := startProducer(o, "flow", producer.WithQueueSelector(producer.NewHashQueueSelector()))
	if err != nil {
		return nil, err
	}
	f := &flow{done: make(chan error, 1)}
	go func() {
		err := f.run(sender, o, g)
		if stopped := sender.Shutdown(); err == nil {
			err = stopped
		}
		f.done <- err
	}()
	return f, nil
}

func (f *flow) run(sender rocketmq.Producer, o options, g *gathering) error {
	shards, least, deadline := o.number("shards", 16), o.number("count", 1), o.deadline()
	for f.sent < least || !f.finishing.Load() {
		if time.Now().After(deadline) {
			return fmt.Errorf("after %d messages, of which %d have come, the time is over", f.sent, g.distinct())
		}
		if f.sent-g.distinct() >= aheadMax {
			time.Sleep(time.Millisecond)
			continue
		}
		message := sampleMessage(o, f.sent)
		message.WithShardingKey("shard-" + strconv.Itoa(f.sent%shards))
		if _, err := sender.SendSync(context.Background(), message); err != nil {
			return err
		}
		f.sent++
	}
	return nil
}

// finish lets the flow end, and tells how many messages were sent.
func (f *flow) finish() (int, error) {
	f.finishing.Store(true)
	err := <-f.done
	return f.sent, err
}
