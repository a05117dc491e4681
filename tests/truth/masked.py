"""What the plugin `mask` must put in the place of each value of examples/ready-made, by Python's own hmac and ipaddress,
and by SipHash-2-4 as its paper has it (Aumasson and Bernstein, 2012)."""

import hmac
import ipaddress

KEY = "correct horse battery staple 0123"
MASK64 = (1 << 64) - 1


def make(truth):
    """Makes the table `masked` of a DuckDB connection, for the events of its variable `events`."""
    truth.execute("CREATE TABLE masked (way VARCHAR, value VARCHAR, masked VARCHAR)")
    domain = mac(KEY.encode(), "country")
    siphash_key = mac(KEY.encode(), "siphash")[:16]
    ways = {
        "hash": ("user_id", lambda value: str(siphash(siphash_key, value.encode()))),
        "tokenize": ("email", lambda value: mac(KEY.encode(), value).hex()[:32]),
        "domain": ("country", lambda value: mac(domain, value).hex()[:16]),
        "ip": ("ip", shortened),
    }
    for way, (column, mask) in ways.items():
        events = "read_json(getvariable('events'), format = 'newline_delimited')"
        values = truth.sql(f"SELECT DISTINCT {column}::VARCHAR FROM {events} WHERE {column} IS NOT NULL").fetchall()
        rows = [(way, value, mask(value)) for (value,) in values]
        truth.executemany("INSERT INTO masked VALUES (?, ?, ?)", rows)


def mac(key, text):
    return hmac.new(key, text.encode(), "sha256").digest()


def shortened(text):
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if address.version == 6 and address.ipv4_mapped:
        address = address.ipv4_mapped
    bits = 24 if address.version == 4 else 48
    return str(ipaddress.ip_network((address, bits), strict=False).network_address)


def siphash(key, data):
    """As a signed number of 64 bits."""
    k0, k1 = (int.from_bytes(key[at : at + 8], "little") for at in (0, 8))
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rotated(x, bits):
        return (x << bits | x >> (64 - bits)) & MASK64

    def rounds(count):
        for _ in range(count):
            v[0] = (v[0] + v[1]) & MASK64
            v[1] = rotated(v[1], 13) ^ v[0]
            v[0] = rotated(v[0], 32)
            v[2] = (v[2] + v[3]) & MASK64
            v[3] = rotated(v[3], 16) ^ v[2]
            v[0] = (v[0] + v[3]) & MASK64
            v[3] = rotated(v[3], 21) ^ v[0]
            v[2] = (v[2] + v[1]) & MASK64
            v[1] = rotated(v[1], 17) ^ v[2]
            v[2] = rotated(v[2], 32)

    padded = data + b"\0" * (7 - len(data) % 8) + bytes([len(data) & 0xFF])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(4)
    number = v[0] ^ v[1] ^ v[2] ^ v[3]
    return number - (1 << 64) if number >> 63 else number
