package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// options are words in the form `--name value` or `--flag`; everything else is positional.
type options struct {
	values     map[string]string
	positional []string
}

func parse(words []string) options {
	parsed := options{values: map[string]string{}}
	for i := 0; i < len(words); i++ {
		switch {
		case !strings.HasPrefix(words[i], "--"):
			parsed.positional = append(parsed.positional, words[i])
		case i+1 < len(words) && !strings.HasPrefix(words[i+1], "--"):
			parsed.values[words[i][2:]] = words[i+1]
			i++
		default:
			parsed.values[words[i][2:]] = "true"
		}
	}
	return parsed
}

// with is these options with one changed.
func (o options) with(name, value string) options {
	values := map[string]string{}
	for other, kept := range o.values {
		values[other] = kept
	}
	values[name] = value
	return options{values: values, positional: o.positional}
}

func (o options) text(name, otherwise string) string {
	if value, ok := o.values[name]; ok {
		return value
	}
	return otherwise
}

func (o options) number(name string, otherwise int) int {
	if value, err := strconv.Atoi(o.values[name]); err == nil {
		return value
	}
	return otherwise
}

// list splits a value at its commas.
func (o options) list(name string) []string {
	return strings.Split(o.text(name, ""), ",")
}

func (o options) numbers(name string) ([]int, error) {
	numbers := []int{}
	for _, word := range o.list(name) {
		number, err := strconv.Atoi(word)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", name, err)
		}
		numbers = append(numbers, number)
	}
	return numbers, nil
}

func (o options) deadline() time.Time {
	return time.Now().Add(time.Duration(o.number("timeout", 60)) * time.Second)
}

func (o options) nameServers() (primitive.NamesrvAddr, error) {
	return primitive.NewNamesrvAddr(strings.Split(o.text("namesrv", ""), ";")...)
}

// instance keeps clients of one process apart: the library shares a client per instance name.
func instance(kind string) string {
	return fmt.Sprintf("%s-%d", kind, time.Now().UnixNano())
}
