package main

import (
	"context"
	"time"
)

// delay --topic T --group G --levels 2,0,1: a listening group, then message n with the n-th of the levels. Tells when
// each was acknowledged, by the clock of the deliveries.
func delay(o options) error {
	levels, err := o.numbers("levels")
	if err != nil {
		return err
	}
	g := newGathering()
	member, err := g.join(o, "delay", always)
	if err != nil {
		return err
	}
	sender, err := startProducer(o, "delay")
	if err != nil {
		return err
	}
	sentAt := []int64{}
	for number, level := range levels {
		message := sampleMessage(o, number)
		if level > 0 {
			message.WithDelayTimeLevel(level)
		}
		// Before, not after: a delay is counted from when the message was stored.
		sentAt = append(sentAt, time.Since(g.start).Milliseconds())
		if _, err := sender.SendSync(context.Background(), message); err != nil {
			return err
		}
	}
	waited := await(o.deadline(), "all levels", func() bool { return g.distinct() >= len(levels) })
	if err := member.Shutdown(); err != nil {
		return err
	}
	if err := sender.Shutdown(); err != nil {
		return err
	}
	if waited != nil {
		return waited
	}
	return g.report(map[string]any{"sent_at_ms": sentAt})
}
