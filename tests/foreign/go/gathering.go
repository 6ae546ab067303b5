package main

import (
	"context"
	"errors"
	"sort"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// A delivery is one message in one call of a member's listener.
type delivery struct {
	Member string `json:"member"`
	Number int    `json:"number"`
	Queue  int    `json:"queue"`
	Offset int64  `json:"offset"`
	Times  int32  `json:"times"`
	AtMs   int64  `json:"at_ms"`
}

// A gathering is what the members of one consumer group in this process received, in the order of their calls.
type gathering struct {
	lock       sync.Mutex
	start      time.Time
	deliveries []delivery
	numbers    map[int]bool
	busy       map[int]int
	overlaps   int
	wrong      int
}

func newGathering() *gathering {
	return &gathering{start: time.Now(), numbers: map[int]bool{}, busy: map[int]int{}, deliveries: []delivery{}}
}

type decision func(context.Context, *primitive.MessageExt) consumer.ConsumeResult

func always(context.Context, *primitive.MessageExt) consumer.ConsumeResult {
	return consumer.ConsumeSuccess
}

// join starts a push consumer under a name of its own; what it receives is noted before `decide` is asked.
func (g *gathering) join(o options, name string, decide decision, more ...consumer.Option) (rocketmq.PushConsumer, error) {
	settings, err := consumerOptions(o, name)
	if err != nil {
		return nil, err
	}
	settings = append(settings, consumer.WithConsumeMessageBatchMaxSize(1))
	push, err := rocketmq.NewPushConsumer(append(settings, more...)...)
	if err != nil {
		return nil, err
	}
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: o.text("sub", "*")}
	err = push.Subscribe(o.text("topic", ""), selector,
		func(ctx context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			g.enter(name, messages[0])
			defer g.leave(messages[0])
			return decide(ctx, messages[0]), nil
		})
	if err != nil {
		return nil, err
	}
	return push, push.Start()
}

func (g *gathering) enter(member string, message *primitive.MessageExt) {
	g.lock.Lock()
	defer g.lock.Unlock()
	number := sampleNumber(message)
	if number < 0 {
		g.wrong++
	}
	g.numbers[number] = true
	queue := message.Queue.QueueId
	if g.busy[queue] > 0 {
		g.overlaps++
	}
	g.busy[queue]++
	g.deliveries = append(g.deliveries, delivery{Member: member, Number: number, Queue: queue,
		Offset: message.QueueOffset, Times: message.ReconsumeTimes, AtMs: time.Since(g.start).Milliseconds()})
}

func (g *gathering) leave(message *primitive.MessageExt) {
	g.lock.Lock()
	defer g.lock.Unlock()
	g.busy[message.Queue.QueueId]--
}

func (g *gathering) distinct() int {
	g.lock.Lock()
	defer g.lock.Unlock()
	return len(g.numbers)
}

func (g *gathering) count() int {
	g.lock.Lock()
	defer g.lock.Unlock()
	return len(g.deliveries)
}

// owners tells by its latest delivery since `first` which member has a queue.
func (g *gathering) owners(first int) map[string][]int {
	g.lock.Lock()
	defer g.lock.Unlock()
	latest := map[int]string{}
	for _, one := range g.deliveries[first:] {
		latest[one.Queue] = one.Member
	}
	owners := map[string][]int{}
	for queue, member := range latest {
		owners[member] = append(owners[member], queue)
	}
	for _, queues := range owners {
		sort.Ints(queues)
	}
	return owners
}

func (g *gathering) report(fields map[string]any) error {
	g.lock.Lock()
	defer g.lock.Unlock()
	fields["deliveries"], fields["distinct"] = g.deliveries, len(g.numbers)
	fields["start_ms"] = g.start.UnixMilli()
	fields["wrong"], fields["overlaps"] = g.wrong, g.overlaps
	return report(fields)
}

// await looks every few milliseconds whether something has come true.
func await(deadline time.Time, what string, isTrue func() bool) error {
	for !isTrue() {
		if time.Now().After(deadline) {
			return errors.New("in vain waited for: " + what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}
