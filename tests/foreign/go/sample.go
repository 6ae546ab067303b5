package main

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// The messages of the tests, the same in every language: see Sample.java.
const (
	sampleText     = "Grüße 消息"
	sampleAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
)

func sampleBody(number int, key string, size int) []byte {
	body := []byte(strconv.Itoa(number) + " " + key + " ")
	for i := len(body); i < size; i++ {
		body = append(body, sampleAlphabet[(number+i)%len(sampleAlphabet)])
	}
	return body
}

func sampleMessage(o options, number int) *primitive.Message {
	tags := strings.Split(o.text("tags", ""), ",")
	key := o.text("keys", "key-") + strconv.Itoa(number)
	message := primitive.NewMessage(o.text("topic", ""), sampleBody(number, key, o.number("body-size", 64)))
	message.WithKeys([]string{key})
	if tag := tags[number%len(tags)]; tag != "" {
		message.WithTag(tag)
	}
	message.WithProperty("origin", "go")
	message.WithProperty("text", sampleText)
	return message
}

// sampleNumber is the number in the body, or -1 when a byte of the body, the key or the text property is wrong.
func sampleNumber(message *primitive.MessageExt) int {
	words := strings.SplitN(string(message.Body), " ", 3)
	number, err := strconv.Atoi(words[0])
	if err != nil || len(words) < 3 ||
		!bytes.Equal(sampleBody(number, words[1], len(message.Body)), message.Body) ||
		strings.TrimSpace(message.GetKeys()) != words[1] ||
		message.GetProperty("text") != sampleText {
		return -1
	}
	return number
}
