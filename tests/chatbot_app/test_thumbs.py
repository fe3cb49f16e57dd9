from chatbot_app.conversation import Conversation, Turn
from chatbot_app.thumbs import judge

REFERENCE = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


def test_a_thumb_that_could_not_be_recorded_may_be_given_again() -> None:
    chat, turn = Conversation(), Turn("assistant", "An answer.", reference=REFERENCE)
    assert judge(chat, turn, 1) is False  # nothing is observed here
    assert chat.judged == {}
    assert judge(chat, turn, 1) is False
