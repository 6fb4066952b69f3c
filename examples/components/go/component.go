package main

import (
	"context"
	"encoding/json"
	"io"
	"math"
	"time"

	pb "ledger/contract"
)

func text(value any) []byte {
	encoded, err := json.Marshal(value)
	if err != nil {
		panic(err) // of constants only
	}
	return encoded
}

type object = map[string]any

var description = &pb.Description{
	Type:        "Samples.Ledger",
	Version:     "1.0.0",
	Description: "Enters an amount in the ledger of an account, once, and gives the new balance",
	Effect:      pb.Effect_EFFECT_EFFECT,
	Idempotent:  true,
	CanLookUp:   true,
	OnUncertain: pb.OnUncertain_ON_UNCERTAIN_RETRY,
	Settings: []*pb.Setting{{
		Name:        "limit",
		Label:       "Largest amount",
		Description: "amounts above it, and below its negative, are refused",
		SchemaJson:  text(object{"type": "number", "exclusiveMinimum": 0}),
		DefaultJson: text(1000000),
	}},
	Inputs: []*pb.Port{
		{Name: "Account", Type: "Text", Description: "whose ledger", SchemaJson: text(object{"type": "string", "minLength": 1})},
		{Name: "Amount", Type: "Number", Description: "what is entered; negative for what goes out"},
	},
	Outputs: []*pb.Port{
		{Name: "Balance", Type: "Number", Description: "the sum of all entries of the account"},
		{Name: "Entry", Type: "Integer", Description: "the entry's number"},
	},
	Limits: &pb.Limits{MaxInputBytes: 64 << 10, TimeoutMs: 10000},
	Examples: []*pb.Example{
		{Name: "an amount", InputsJson: text(object{"Account": "kit", "Amount": 12.5})},
		{Name: "more than is allowed", InputsJson: text(object{"Account": "kit", "Amount": 12}),
			SettingsJson: text(object{"limit": 10}), Failure: pb.FailureKind_FAILURE_KIND_DENIED},
		{Name: "no number at all", InputsJson: text(object{"Account": "kit", "Amount": "much"}),
			Failure: pb.FailureKind_FAILURE_KIND_INVALID_INPUT},
	},
}

// failed is a failure that is an answer.
type failed struct {
	kind    pb.FailureKind
	message string
}

// Ledger serves the type.
type Ledger struct {
	pb.UnimplementedComponentServer
	book *Book
}

// Describe says what the type is.
func (*Ledger) Describe(context.Context, *pb.DescribeRequest) (*pb.Description, error) {
	return description, nil
}

// Process executes one activation.
func (ledger *Ledger) Process(stream pb.Component_ProcessServer) error {
	first, err := stream.Recv()
	if err == io.EOF {
		return nil
	}
	if err != nil {
		return err
	}
	activation := first.GetActivation()
	if activation == nil {
		return stream.Send(failure(failed{pb.FailureKind_FAILURE_KIND_INVALID_INPUT, "the first message is no activation"}))
	}
	// An entry takes no time, so there is nothing to be stopped in the middle: only what is too late is not begun.
	if late := activation.DeadlineTimeMs; late != 0 && time.Now().UnixMilli() >= late {
		return stream.Send(failure(failed{pb.FailureKind_FAILURE_KIND_CANCELLED, "its time was over before it began"}))
	}
	entry, wrong := ledger.enter(activation)
	if wrong != nil {
		return stream.Send(failure(*wrong))
	}
	_ = stream.Send(&pb.ProcessResponse{Message: &pb.ProcessResponse_Log{Log: &pb.Log{
		Level: pb.LogLevel_LOG_LEVEL_INFO, Message: "entered for " + entry.Account}}})
	return stream.Send(&pb.ProcessResponse{Message: &pb.ProcessResponse_Answer{Answer: answer(entry)}})
}

// LookUp says whether an activation has had its effect.
func (ledger *Ledger) LookUp(_ context.Context, request *pb.LookUpRequest) (*pb.LookUpResponse, error) {
	if entry, found := ledger.book.Find(request.GetActivation().GetIdempotencyKey()); found {
		return &pb.LookUpResponse{Found: &pb.LookUpResponse_Happened{Happened: answer(entry)}}, nil
	}
	return &pb.LookUpResponse{Found: &pb.LookUpResponse_NotHappened{NotHappened: &pb.NotHappened{}}}, nil
}

func (ledger *Ledger) enter(activation *pb.Activation) (Entry, *failed) {
	var inputs struct {
		Account string
		Amount  *float64
	}
	if err := json.Unmarshal(activation.InputsJson, &inputs); err != nil {
		return Entry{}, &failed{pb.FailureKind_FAILURE_KIND_INVALID_INPUT, "the inputs are not what they should be: " + err.Error()}
	}
	if inputs.Account == "" || inputs.Amount == nil || math.IsInf(*inputs.Amount, 0) {
		return Entry{}, &failed{pb.FailureKind_FAILURE_KIND_INVALID_INPUT, "Account or Amount is missing: connect both"}
	}
	settings := struct {
		Limit float64 `json:"limit"`
	}{1000000}
	if len(activation.SettingsJson) > 0 {
		if err := json.Unmarshal(activation.SettingsJson, &settings); err != nil {
			return Entry{}, &failed{pb.FailureKind_FAILURE_KIND_INVALID_SETTING, "the settings are not what they should be: " + err.Error()}
		}
	}
	if math.Abs(*inputs.Amount) > settings.Limit {
		return Entry{}, &failed{pb.FailureKind_FAILURE_KIND_DENIED, "the amount is above the limit: enter less, or raise the limit"}
	}
	entry, err := ledger.book.Add(activation.IdempotencyKey, inputs.Account, *inputs.Amount)
	if err != nil {
		return Entry{}, &failed{pb.FailureKind_FAILURE_KIND_INTERNAL, "the ledger cannot be written: " + err.Error()}
	}
	return entry, nil
}

func answer(entry Entry) *pb.Answer {
	outputs := text(object{"Balance": entry.Balance, "Entry": entry.Number})
	return &pb.Answer{OutputsJson: outputs, IdempotencyKey: entry.Key}
}

func failure(it failed) *pb.ProcessResponse {
	return &pb.ProcessResponse{Message: &pb.ProcessResponse_Failure{Failure: &pb.Failure{Kind: it.kind, Message: it.message}}}
}
