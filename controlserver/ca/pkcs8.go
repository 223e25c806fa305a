package ca

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
)

// Private keys are PEM files as others have them: PKCS #8, and with a passphrase PBES2 of PBKDF2, HMAC-SHA-256 and AES-256-CBC (RFC 5958,
// RFC 8018), which openssl pkey reads and writes.

const (
	plainKey  = "PRIVATE KEY"
	sealedKey = "ENCRYPTED PRIVATE KEY"

	// iterationsNow make one guess of a passphrase cost a fifth of a second.
	iterationsNow = 600_000
	// mostIterations bounds what reading a file may cost.
	mostIterations = 10_000_000
)

var (
	oidPBES2      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidHMACSHA256 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}
	oidAES256CBC  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
)

type encryptedKey struct { // EncryptedPrivateKeyInfo
	Algorithm struct {
		OID        asn1.ObjectIdentifier
		Parameters pbes2
	}
	Data []byte
}

type pbes2 struct {
	KDF struct {
		OID        asn1.ObjectIdentifier
		Parameters struct {
			Salt       []byte
			Iterations int
			KeyLength  int                      `asn1:"optional"`
			PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
		}
	}
	Cipher struct {
		OID asn1.ObjectIdentifier
		IV  []byte
	}
}

var (
	errPassphrase = errors.New("the passphrase is wrong")
	errSealed     = errors.New("it is encrypted, and there is no passphrase")
)

// encodeKey is the PEM of a key, encrypted if there is a passphrase.
func encodeKey(key crypto.Signer, passphrase []byte, iterations int) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil || len(passphrase) == 0 {
		return pem.EncodeToMemory(&pem.Block{Type: plainKey, Bytes: der}), err
	}
	var e encryptedKey
	e.Algorithm.OID = oidPBES2
	p := &e.Algorithm.Parameters
	p.KDF.OID, p.Cipher.OID = oidPBKDF2, oidAES256CBC
	p.KDF.Parameters.Salt, p.Cipher.IV = random(16), random(aes.BlockSize)
	p.KDF.Parameters.Iterations = iterations
	p.KDF.Parameters.PRF = pkix.AlgorithmIdentifier{Algorithm: oidHMACSHA256, Parameters: asn1.NullRawValue}
	block, err := p.cipher(passphrase)
	if err != nil {
		return nil, err
	}
	pad := aes.BlockSize - len(der)%aes.BlockSize
	e.Data = slices.Concat(der, bytes.Repeat([]byte{byte(pad)}, pad))
	cipher.NewCBCEncrypter(block, p.Cipher.IV).CryptBlocks(e.Data, e.Data)
	if der, err = asn1.Marshal(e); err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: sealedKey, Bytes: der}), nil
}

// decodeKey reads what encodeKey wrote, and what others write in the same form.
func decodeKey(text, passphrase []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("it is no PEM")
	}
	der := block.Bytes
	switch block.Type {
	case plainKey:
	case sealedKey:
		if len(passphrase) == 0 {
			return nil, errSealed
		}
		var err error
		if der, err = open(der, passphrase); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("it is a %s, not a PKCS #8 %s", block.Type, plainKey)
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		if block.Type == sealedKey {
			return nil, errPassphrase
		}
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T signs nothing", key)
	}
	return signer, nil
}

// sealed reports whether the PEM of a key is encrypted.
func sealed(text []byte) bool {
	block, _ := pem.Decode(text)
	return block != nil && block.Type == sealedKey
}

// open takes the encryption off a key.
func open(der, passphrase []byte) ([]byte, error) {
	var e encryptedKey
	if rest, err := asn1.Unmarshal(der, &e); err != nil || len(rest) > 0 {
		return nil, errors.New("its encryption is not PBES2 of PBKDF2 and AES-256-CBC: convert it by openssl pkcs8 -topk8 -v2 aes-256-cbc")
	}
	block, err := e.Algorithm.Parameters.cipher(passphrase)
	if err != nil {
		return nil, err
	}
	if len(e.Data) == 0 || len(e.Data)%aes.BlockSize != 0 || !e.Algorithm.OID.Equal(oidPBES2) {
		return nil, errors.New("its encryption is damaged")
	}
	out := make([]byte, len(e.Data))
	cipher.NewCBCDecrypter(block, e.Algorithm.Parameters.Cipher.IV).CryptBlocks(out, e.Data)
	pad := int(out[len(out)-1])
	if pad == 0 || pad > aes.BlockSize || !bytes.Equal(out[len(out)-pad:], bytes.Repeat([]byte{byte(pad)}, pad)) {
		return nil, errPassphrase
	}
	return out[:len(out)-pad], nil
}

func (p *pbes2) cipher(passphrase []byte) (cipher.Block, error) {
	kdf := p.KDF.Parameters
	switch {
	case !p.KDF.OID.Equal(oidPBKDF2) || !kdf.PRF.Algorithm.Equal(oidHMACSHA256) || !p.Cipher.OID.Equal(oidAES256CBC):
		return nil, errors.New("its encryption is not PBKDF2 with HMAC-SHA-256 and AES-256-CBC: convert it by openssl pkcs8 -topk8 -v2 aes-256-cbc")
	case kdf.Iterations < 1 || kdf.Iterations > mostIterations || len(p.Cipher.IV) != aes.BlockSize || kdf.KeyLength != 0 && kdf.KeyLength != 32:
		return nil, errors.New("its encryption is damaged")
	}
	key, err := pbkdf2.Key(sha256.New, string(passphrase), kdf.Salt, kdf.Iterations, 32)
	if err != nil {
		return nil, fmt.Errorf("passphrase: %w", err)
	}
	return aes.NewCipher(key)
}

// random bytes: crypto/rand ends the process rather than fail.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}
