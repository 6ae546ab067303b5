package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

const inFlightMax = 256

type queueRange struct {
	First int64 `json:"first"`
	Last  int64 `json:"last"`
	Count int   `json:"count"`
}

type sending struct {
	lock      sync.Mutex
	statuses  map[string]int
	queues    map[string]*queueRange
	ids       []string
	offsetIDs []string
	errors    []string
}

// send --topic T --mode sync|async|oneway|batch --count N [--first 0] [--tags a,b] [--keys prefix] [--body-size 64]
// [--batch-size 32] [--group G] [--compress [--compress-level 5]]
func send(o options) error {
	servers, err := o.nameServers()
	if err != nil {
		return err
	}
	compressOver := math.MaxInt32
	if o.text("compress", "") == "true" {
		compressOver = 1
	}
	sender, err := rocketmq.NewProducer(
		producer.WithNameServer(servers),
		producer.WithGroupName(o.text("group", "pyromq-go-producer")),
		producer.WithInstanceName(instance("producer")),
		producer.WithRetry(2),
		producer.WithSendMsgTimeout(20*time.Second),
		producer.WithCompressMsgBodyOverHowmuch(compressOver),
		producer.WithCompressLevel(o.number("compress-level", 5)),
	)
	if err != nil {
		return err
	}
	if err := sender.Start(); err != nil {
		return err
	}
	start := time.Now()
	s := &sending{statuses: map[string]int{}, queues: map[string]*queueRange{}}
	first, count := o.number("first", 0), o.number("count", 1)
	switch mode := o.text("mode", "sync"); mode {
	case "sync":
		err = s.inBatches(sender, o, first, first+count, 1)
	case "batch":
		err = s.inBatches(sender, o, first, first+count, o.number("batch-size", 32))
	case "async":
		err = s.async(sender, o, first, first+count)
	case "oneway":
		err = s.oneway(sender, o, first, first+count)
	default:
		err = fmt.Errorf("unknown mode %s", mode)
	}
	if stopped := sender.Shutdown(); err == nil {
		err = stopped
	}
	if err != nil {
		return err
	}
	return s.report(o, time.Since(start))
}

// startProducer starts one in a group and with connections of its own.
func startProducer(o options, kind string, more ...producer.Option) (rocketmq.Producer, error) {
	servers, err := o.nameServers()
	if err != nil {
		return nil, err
	}
	settings := []producer.Option{producer.WithNameServer(servers), producer.WithInstanceName(instance(kind)),
		producer.WithGroupName(o.text("group", "pyromq-go") + "-" + kind)}
	sender, err := rocketmq.NewProducer(append(settings, more...)...)
	if err != nil {
		return nil, err
	}
	return sender, sender.Start()
}

func (s *sending) inBatches(sender rocketmq.Producer, o options, first, last, size int) error {
	for n := first; n < last; n += size {
		batch := []*primitive.Message{}
		for i := n; i < min(n+size, last); i++ {
			batch = append(batch, sampleMessage(o, i))
		}
		result, err := sender.SendSync(context.Background(), batch...)
		if err != nil {
			return err
		}
		s.record(result, len(batch))
	}
	return nil
}

// oneway ends with one synchronous message to another topic, on the same connection: its answer proves that the
// server has read all before it. Without it some are lost: this client sends one-way requests without the one-way
// flag, so they are answered, it closes the connection without reading the answers, and the kernel then resets it.
func (s *sending) oneway(sender rocketmq.Producer, o options, first, last int) error {
	for n := first; n < last; n++ {
		if err := sender.SendOneWay(context.Background(), sampleMessage(o, n)); err != nil {
			return err
		}
		s.statuses["ONEWAY"]++
	}
	_, err := sender.SendSync(context.Background(), primitive.NewMessage("foreign-barrier", []byte("all read?")))
	return err
}

func (s *sending) async(sender rocketmq.Producer, o options, first, last int) error {
	slots := make(chan struct{}, inFlightMax)
	for n := first; n < last; n++ {
		slots <- struct{}{}
		err := sender.SendAsync(context.Background(), func(_ context.Context, result *primitive.SendResult, err error) {
			if err != nil {
				s.fail(err)
			} else {
				s.record(result, 1)
			}
			<-slots
		}, sampleMessage(o, n))
		if err != nil {
			return err
		}
	}
	expired := time.After(time.Duration(o.number("timeout", 60)) * time.Second)
	for i := 0; i < inFlightMax; i++ {
		select {
		case slots <- struct{}{}:
		case <-expired:
			return errors.New("callbacks missing")
		}
	}
	return nil
}

func statusName(status primitive.SendStatus) string {
	names := []string{"SEND_OK", "FLUSH_DISK_TIMEOUT", "FLUSH_SLAVE_TIMEOUT", "SLAVE_NOT_AVAILABLE"}
	if int(status) < len(names) {
		return names[status]
	}
	return "UNKNOWN"
}

func (s *sending) record(result *primitive.SendResult, count int) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.statuses[statusName(result.Status)] += count
	s.ids = append(s.ids, strings.Split(result.MsgID, ",")...)
	s.offsetIDs = append(s.offsetIDs, strings.Split(result.OffsetMsgID, ",")...)
	id := strconv.Itoa(result.MessageQueue.QueueId)
	if s.queues[id] == nil {
		s.queues[id] = &queueRange{First: math.MaxInt64, Last: math.MinInt64}
	}
	s.queues[id].First = min(s.queues[id].First, result.QueueOffset)
	s.queues[id].Last = max(s.queues[id].Last, result.QueueOffset+int64(count)-1)
	s.queues[id].Count += count
}

func (s *sending) fail(err error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.statuses["ERROR"]++
	if len(s.errors) < 10 {
		s.errors = append(s.errors, err.Error())
	}
}

func (s *sending) report(o options, elapsed time.Duration) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	sent := 0
	for _, count := range s.statuses {
		sent += count
	}
	return report(map[string]any{
		"mode": o.text("mode", "sync"), "sent": sent, "statuses": s.statuses,
		"distinct_ids": distinct(s.ids), "distinct_offset_ids": distinct(s.offsetIDs),
		"first_id": firstOf(s.ids), "first_offset_id": firstOf(s.offsetIDs),
		"queues": s.queues, "errors": append([]string{}, s.errors...), "elapsed_ms": elapsed.Milliseconds(),
	})
}

func distinct(texts []string) int {
	seen := map[string]bool{}
	for _, text := range texts {
		seen[text] = true
	}
	return len(seen)
}

func firstOf(texts []string) any {
	if len(texts) == 0 {
		return nil
	}
	return texts[0]
}
