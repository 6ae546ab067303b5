package main

import (
	"context"
	"fmt"
	"sort"
	"time"

	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func newAdmin(o options) (admin.Admin, error) {
	servers, err := o.nameServers()
	if err != nil {
		return nil, err
	}
	return admin.NewAdmin(admin.WithResolver(primitive.NewPassthroughResolver(servers)))
}

func publishQueues(o options) ([]*primitive.MessageQueue, error) {
	client, err := newAdmin(o)
	if err != nil {
		return nil, err
	}
	defer func() { _ = client.Close() }()
	return client.FetchPublishMessageQueues(context.Background(), o.text("topic", ""))
}

// admin topic-create|topic-delete|topic-list|queues|groups [--broker ADDR] [--topic T] [--queues N] [--perm 6]
func administer(o options) error {
	client, err := newAdmin(o)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	ctx, topic := context.Background(), o.text("topic", "")
	switch verb := o.positional[0]; verb {
	case "topic-create":
		queues := o.number("queues", 4)
		if err := client.CreateTopic(ctx, admin.WithTopicCreate(topic), admin.WithBrokerAddrCreate(o.text("broker", "")),
			admin.WithReadQueueNums(queues), admin.WithWriteQueueNums(queues), admin.WithPerm(o.number("perm", 6))); err != nil {
			return err
		}
		return report(map[string]any{"created": topic})
	case "topic-delete":
		if err := client.DeleteTopic(ctx, admin.WithTopicDelete(topic), admin.WithBrokerAddrDelete(o.text("broker", ""))); err != nil {
			return err
		}
		return report(map[string]any{"deleted": topic})
	case "topic-list":
		list, err := client.FetchAllTopicList(ctx)
		if err != nil {
			return err
		}
		sort.Strings(list.TopicList)
		return report(map[string]any{"topics": list.TopicList})
	case "queues":
		queues, err := client.FetchPublishMessageQueues(ctx, topic)
		if err != nil {
			return err
		}
		names := []string{}
		for _, queue := range queues {
			names = append(names, fmt.Sprintf("%s/%d", queue.BrokerName, queue.QueueId))
		}
		sort.Strings(names)
		return report(map[string]any{"queues": names})
	case "groups":
		wrapper, err := client.GetAllSubscriptionGroup(ctx, o.text("broker", ""), 5*time.Second)
		if err != nil {
			return err
		}
		groups := []string{}
		for group := range wrapper.SubscriptionGroupTable {
			groups = append(groups, group)
		}
		sort.Strings(groups)
		return report(map[string]any{"groups": groups})
	default:
		return fmt.Errorf("unknown verb %s", verb)
	}
}
