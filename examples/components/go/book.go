package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"sync"
)

// Entry is one line of the ledger.
type Entry struct {
	Key     string  `json:"key"`
	Account string  `json:"account"`
	Amount  float64 `json:"amount"`
	Balance float64 `json:"balance"`
	Number  int     `json:"number"`
}

// Book keeps entries in a file, each once: the key under which one was asked for is part of it, so that a repeat finds
// it also after a crash.
type Book struct {
	mutex    sync.Mutex
	file     *os.File
	byKey    map[string]Entry
	balances map[string]float64
	number   int
}

// Open reads a file of entries, and makes it where there is none. A last line that a crash left half written is cut
// off: nobody was told of it.
func Open(path string) (*Book, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	book := &Book{file: file, byKey: map[string]Entry{}, balances: map[string]float64{}}
	reader := bufio.NewReader(file)
	var whole int64
	for {
		line, err := reader.ReadBytes('\n')
		if err != nil {
			break
		}
		var entry Entry
		if json.Unmarshal(line, &entry) != nil {
			return nil, errors.New("a line of the ledger is no entry")
		}
		whole += int64(len(line))
		book.keep(entry)
	}
	if err := file.Truncate(whole); err != nil {
		return nil, err
	}
	_, err = file.Seek(whole, 0)
	return book, err
}

func (book *Book) keep(entry Entry) {
	book.byKey[entry.Key] = entry
	book.balances[entry.Account] = entry.Balance
	book.number = entry.Number
}

// Find gives the entry of a key.
func (book *Book) Find(key string) (Entry, bool) {
	book.mutex.Lock()
	defer book.mutex.Unlock()
	entry, found := book.byKey[key]
	return entry, found
}

// Add enters an amount once per key, durably.
func (book *Book) Add(key, account string, amount float64) (Entry, error) {
	book.mutex.Lock()
	defer book.mutex.Unlock()
	if entry, found := book.byKey[key]; found {
		return entry, nil
	}
	entry := Entry{key, account, amount, book.balances[account] + amount, book.number + 1}
	line, err := json.Marshal(entry)
	if err != nil {
		return Entry{}, err
	}
	if _, err := book.file.Write(append(line, '\n')); err != nil {
		return Entry{}, err
	}
	if err := book.file.Sync(); err != nil {
		return Entry{}, err
	}
	book.keep(entry)
	return entry, nil
}
