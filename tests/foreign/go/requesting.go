package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// Given to a request of which nobody knows whether its answer finds the way back.
const trialTime = 300 * time.Millisecond

// respond --topic T --group G --until NUMBER: answers each request as the Java program does, and leaves after the one
// with this number. Tells how many answers were delivered, and what the server said of the others: who has got the
// last answer may leave before it has told the server so.
func respond(o options) error {
	replier, err := startProducer(o, "replier")
	if err != nil {
		return err
	}
	lock, answered, refusals, last := sync.Mutex{}, 0, map[string]bool{}, make(chan struct{}, 1)
	member, err := newGathering().join(o, "responder", func(_ context.Context, request *primitive.MessageExt) consumer.ConsumeResult {
		err := answer(replier, request)
		lock.Lock()
		defer lock.Unlock()
		if err != nil {
			refusals[err.Error()] = true
		} else {
			answered++
		}
		if sampleNumber(request) == o.number("until", -1) {
			last <- struct{}{}
		}
		return consumer.ConsumeSuccess
	})
	if err != nil {
		return err
	}
	select {
	case <-last:
	case <-time.After(time.Until(o.deadline())):
		err = errors.New("the last request has not come")
	}
	if stopped := member.Shutdown(); err == nil {
		err = stopped
	}
	if stopped := replier.Shutdown(); err == nil {
		err = stopped
	}
	if err != nil {
		return err
	}
	lock.Lock()
	defer lock.Unlock()
	texts := []string{}
	for text := range refusals {
		texts = append(texts, text)
	}
	return report(map[string]any{"answered": answered, "refusals": texts})
}

// answer replies to one request. The client takes the body given to CreateReplyMessage for properties, so it is set
// afterwards.
func answer(replier rocketmq.Producer, request *primitive.MessageExt) error {
	reply, err := consumer.CreateReplyMessage(request, nil)
	if err != nil {
		return err
	}
	reply.Body = []byte(answerTo(sampleNumber(request), consumer.GetReplyToClient(request)))
	reply.WithProperty("origin", "go")
	_, err = replier.SendSync(context.Background(), reply)
	return err
}

func answerTo(number int, client string) string {
	return fmt.Sprintf("answer to %d for %s", number, client)
}

// request --topic T --count N [--first 0] [--async] [--body-size B] [--ttl-ms 3000]: the first request is repeated
// until it is answered. Tells what came back for each number.
func request(o options) error {
	asker, err := startProducer(o, "asker")
	if err != nil {
		return err
	}
	first, count := o.number("first", 0), o.number("count", 1)
	if err := awaitAnswers(o, asker, first); err != nil {
		return err
	}
	bodies, client, properties := map[int]string{}, "", map[string]string{}
	ttl := time.Duration(o.number("ttl-ms", 3000)) * time.Millisecond
	for number := first; number < first+count; number++ {
		message := sampleMessage(o, number)
		reply, err := ask(o, asker, message, ttl)
		if err != nil {
			return fmt.Errorf("request %d: %w", number, err)
		}
		bodies[number], properties = string(reply.Body), reply.GetProperties()
		client = message.GetProperty(primitive.PropertyMessageReplyToClient)
	}
	if err := asker.Shutdown(); err != nil {
		return err
	}
	return report(map[string]any{"bodies": bodies, "client_id": client, "properties": properties})
}

// ask waits for the answer to one request, in one of the two ways.
func ask(o options, asker rocketmq.Producer, message *primitive.Message, ttl time.Duration) (*primitive.Message, error) {
	if o.text("async", "") != "true" {
		return asker.Request(context.Background(), ttl, message)
	}
	type outcome struct {
		answer *primitive.Message
		err    error
	}
	// The callback runs twice: for the answer, and when the request is forgotten after it.
	outcomes := make(chan outcome, 2)
	err := asker.RequestAsync(context.Background(), ttl, func(_ context.Context, answer *primitive.Message, err error) {
		outcomes <- outcome{answer, err}
	}, message)
	if err != nil {
		return nil, err
	}
	select {
	case one := <-outcomes:
		return one.answer, one.err
	case <-time.After(2 * ttl):
		return nil, errors.New("no callback")
	}
}

// awaitAnswers asks until an answer comes: the server can give it back only after the first heartbeat of this producer,
// a second after its start.
func awaitAnswers(o options, asker rocketmq.Producer, number int) error {
	var last error
	err := await(o.deadline(), "an answer", func() bool {
		_, last = ask(o, asker, sampleMessage(o, number), trialTime)
		return last == nil
	})
	if err != nil {
		return fmt.Errorf("%w: %w", err, last)
	}
	return nil
}

// request-unheard --topic T --ttl-ms MS: a request that nobody answers, and how it ends.
func requestUnheard(o options) error {
	asker, err := startProducer(o, "asker")
	if err != nil {
		return err
	}
	message := sampleMessage(o, 0)
	_, err = ask(o, asker, message, time.Duration(o.number("ttl-ms", 300))*time.Millisecond)
	if stopped := asker.Shutdown(); stopped != nil {
		return stopped
	}
	if err == nil {
		return errors.New("it was answered")
	}
	client := message.GetProperty(primitive.PropertyMessageReplyToClient)
	return report(map[string]any{"failure": err.Error(), "client_id": client})
}
