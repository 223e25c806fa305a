// Package match holds the conditions that routes, rules and policies put on strings, so that they mean the same wherever
// they stand, and how a header is read, whatever protocol it came by.
package match
